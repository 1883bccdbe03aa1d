package config

import "strings"

// Keys returns the full name of every key that has a meaning, such as "http.tls.cert".
func Keys() []string { return paths(keys(&Config{}), "") }

func paths(keys []key, section string) (all []string) {
	for _, k := range keys {
		if k.keys != nil {
			all = append(all, paths(k.keys, join(section, strings.ToLower(k.name)))...)
		} else if k.name != "Custom" {
			all = append(all, join(section, strings.ToLower(k.name)))
		}
	}
	return all
}

// Aliases returns the other names of the key at a path, as the manual writes them.
func Aliases(path string) []string {
	k := findPath(keys(&Config{}), path)
	if k == nil {
		return nil
	}
	return strings.Fields(strings.ToLower(k.aliases))
}
