"""A real web server for a folder, in a thread of this process, which can be told to misbehave."""

from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread


class Handler(SimpleHTTPRequestHandler):
    """Serves files. `server.fault` says what is wrong with answers to paths that contain `server.at`."""

    def do_GET(self):
        server = self.server
        server.asked.append(f"{self.command} {self.path}")
        fault = server.fault if server.at in self.path else None
        if fault == "error":
            return self.send_error(500)
        if fault == "silence":
            return server.over.wait(30)
        content = self.content()
        if content is None:
            return self.send_error(404)
        if fault == "other":
            content = content[:-1] + bytes([content[-1] ^ 1])
        self.send_response(200)
        if fault != "no length":
            self.send_header("Content-Length", str(len(content)))
        if server.tags:
            self.send_header("ETag", f'"{sha256(content).hexdigest()[:16]}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[: len(content) // 2] if fault in ("truncated", "no length") else content)
        return None

    do_HEAD = do_GET

    def content(self):
        try:
            with open(self.translate_path(self.path), "rb") as file:
                return file.read()
        except OSError:
            return None

    def log_message(self, *_):
        pass


class RangeHandler(Handler):
    """Also answers a part of a file, where it is asked for one."""

    def do_GET(self):
        asked = self.headers.get("Range")
        content = self.content()
        if asked is None or content is None:
            return super().do_GET()
        self.server.asked.append(f"{self.command} {self.path} {asked}")
        first, last = (int(part or len(content) - 1) for part in asked.removeprefix("bytes=").split("-"))
        part = content[first : last + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(part)
        return None


@contextmanager
def served(folder, handler=Handler):
    """Serve a folder; the server has its `url`, all that was `asked`, and the settings that `Handler` knows."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    server.asked, server.fault, server.at, server.tags, server.over = [], None, "", False, Event()
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
