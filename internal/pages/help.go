package pages

import (
	"html/template"

	"nats-account-server/internal/manual"
)

// helpPage is what the template of the manual shows: a page of it, or the results of a search.
// Either Current or IsSearch is set.
type helpPage struct {
	Current  *manual.Page   // nil: the results of a search
	Topics   []*manual.Page // the links beside it
	Main     template.HTML  // of the page
	Query    string         // of the search
	Hits     []manual.Hit
	IsSearch bool
}

// Manual returns a page of the manual. onlyHelp is Page.OnlyHelp. It does not change, so it has no
// Version, and no script loads it again.
func (s *Site) Manual(p *manual.Page, onlyHelp bool) Page {
	content := main("manual", helpPage{Current: p, Topics: manual.Pages(), Main: p.HTML()})
	return Page{Title: p.Title, Section: Help, Main: content, OnlyHelp: onlyHelp}
}

// Found returns the page with the results of a search in the manual. query may be any text; ""
// finds nothing.
func (s *Site) Found(query string, onlyHelp bool) Page {
	content := main("manual", helpPage{Topics: manual.Pages(), Query: query, Hits: manual.Search(query),
		IsSearch: true})
	return Page{Title: "Search the manual", Section: Help, Main: content, OnlyHelp: onlyHelp}
}
