package pages

import "nats-account-server/internal/manual"

// helpPage is what the template of the manual shows: a page of it, or the results of a search.
type helpPage struct {
	Current *manual.Page   // nil: the results of a search
	Topics  []*manual.Page // the links beside it
	Query   string         // of the search
	Hits    []manual.Hit
}

// Manual returns a page of the manual. It does not change, so it has no Version, and no script loads
// it again.
func Manual(p *manual.Page) Page {
	content := main("manual", helpPage{Current: p, Topics: manual.Pages()})
	return Page{Title: p.Title, Section: Help, Main: content}
}

// Found returns the page with the results of a search in the manual. query may be any text; ""
// finds nothing.
func Found(query string) Page {
	content := main("manual", helpPage{Topics: manual.Pages(), Query: query,
		Hits: manual.Search(query)})
	return Page{Title: "Search the manual", Section: Help, Main: content}
}
