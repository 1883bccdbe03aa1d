// Package browsertest lets tests use a browser as people do, with clicks and keys: a Chromium without a
// window.
//
// It speaks the DevTools protocol over two pipes, which Chromium reads and writes with the option
// --remote-debugging-pipe. So no WebSocket, no port and no other module is needed.
package browsertest
