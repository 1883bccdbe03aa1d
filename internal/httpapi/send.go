package httpapi

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// Values of the header Content-Type.
const (
	typeJWT  = "application/jwt"
	typeText = "text/plain; charset=utf-8"
	typeBare = "text/plain" // where the original sends no charset
	typeHTML = "text/html; charset=utf-8"
	typeJSON = "application/json"
)

// sendEmpty sends an answer without a body. It has a Content-Length, since an answer to HEAD would
// leave that open.
func sendEmpty(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(status)
}

// send sends a whole answer. One to HEAD has the same Content-Length.
func send(w http.ResponseWriter, status int, contentType, body string) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // an error means that the client has left
}

// sendPage sends a text as http.Error does: a browser must not take it for anything else.
func sendPage(w http.ResponseWriter, status int, text string) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	send(w, status, typeText, text+"\n")
}

// sendText sends a JWT as it is, or decoded if only that is asked for.
func sendText(w http.ResponseWriter, token []byte, f flags) error {
	if f.set("text") {
		send(w, http.StatusOK, typeBare, string(token))
		return nil
	}
	text, err := decode(token)
	if err == nil {
		send(w, http.StatusOK, typeText, text) // a name in the claims may have any characters
	}
	return err
}

// sendAnswer sends what differs from moment to moment to a program or a person: as JSON if the
// client wants that, otherwise as text.
func sendAnswer(
	w http.ResponseWriter, r *http.Request, status int, answer interface{ Text() string },
) error {
	if wantsJSON(w, r) {
		return sendJSON(w, status, answer)
	}
	forbidCaching(w.Header())
	send(w, status, typeText, answer.Text())
	return nil
}

// sendJSON sends what differs from moment to moment, as nats-server does. It is indented by two
// spaces, since people read it with curl.
func sendJSON(w http.ResponseWriter, status int, what any) error {
	text, err := json.MarshalIndent(what, "", "  ")
	if err != nil {
		return err
	}
	forbidCaching(w.Header())
	send(w, status, typeJSON, string(text)+"\n")
	return nil
}

// forbidCaching is for what may be different a moment later.
func forbidCaching(h http.Header) {
	h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "0")
}
