package config

// Keys returns the full name of every key, such as "http.tls.cert".
func Keys() (all []string) {
	for _, k := range keys(&Config{}) {
		all = append(all, k.path())
	}
	return all
}
