package logging

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"strconv"
)

// jsonLine returns a record as a JSON object with these members:
//
//	time    RFC 3339 with microseconds, UTC; not with logging.time: false
//	level   ERROR, WARN, INFO, DEBUG or TRACE
//	msg     the text of the line; it is the one that the text format has
//	pid     process id; only with logging.pid: true
//	audit   an AuditEntry; only in lines of the audit, whose msg is "audit"
//
// Other attributes of the record follow under their own names. Programs read the names: they never
// change.
func (h *Handler) jsonLine(r slog.Record, f *Format) []byte {
	line := []byte{'{'}
	if f.Time {
		line = append(line, `"time":"`...)
		line = r.Time.UTC().AppendFormat(line, "2006-01-02T15:04:05.000000Z07:00")
		line = append(line, `",`...)
	}
	line = append(line, `"level":"`+levelOf(r.Level).name+`","msg":`...)
	line = append(line, jsonText(r.Message)...)
	if f.PID {
		line = strconv.AppendInt(append(line, `,"pid":`...), int64(os.Getpid()), 10)
	}
	h.eachAttr(r, func(a slog.Attr) {
		line = append(append(line, ','), jsonText(a.Key)...)
		line = append(append(line, ':'), jsonValue(a.Value)...)
	})
	return append(line, "}\n"...)
}

// jsonValue returns the value of an attribute.
func jsonValue(v slog.Value) []byte {
	object, isObject := v.Any().(Object)
	var compact bytes.Buffer
	if !isObject || json.Compact(&compact, []byte(object)) != nil {
		return jsonText(v.String())
	}
	return compact.Bytes()
}

// jsonText returns a text as JSON, whatever it contains. Bytes that are not UTF-8 become U+FFFD.
func jsonText(text string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // a line is no HTML, and people read it
	_ = e.Encode(text)     // a text can always be encoded
	return escapeUnprintable(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}
