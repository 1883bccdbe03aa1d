package httpapi

// Paths returns the paths of all routes, without what follows those that are beginnings.
func (a *API) Paths() (paths []string) {
	for _, rt := range a.router {
		if !rt.isPage {
			paths = append(paths, rt.path)
		}
	}
	return paths
}
