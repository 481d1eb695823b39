"""As much of an API server of Kubernetes as the controller needs: lists in pages, watches with bookmarks, server-side apply,
status, events; and the reviews of fake_api_server.py.

Script, which may change at any time:

    objects     {PATH: OBJECT}: what users have applied, under its whole path; what is no more there is deleted
    groups      API groups that exist; others are answered with a page, as a real server does
    own_tokens  tokens that are taken, others are answered with 401
    page        objects of one page of a list
    drop        another number: every watch breaks off
    expire      another number: every watch is told that the past is forgotten, and no older version is known any more
    busy        {"match": REGEX, "count": N, "id": ANY}: the next N such requests are answered with 429
    faults      [{"match": REGEX, "body": REGEX, "count": N, "status": S, "retry_after": SECONDS, "id": ANY}]: the next N such
                requests are answered with a status; without one they are carried out, and the answer is lost
    stale       {"count": N, "id": ANY}: the next N further pages of a list are answered with 410
    conflict    {"count": N, "id": ANY}: the next N changes of a status are answered with 409
    refuse      REGEX of "METHOD PATH" that is answered with 403
    balancer    address that services of the type LoadBalancer get

Of what there is a definition of, only what that has is stored: see definitions.py.

Everything that is there is in STATE.json beside the script whenever it changes.
"""

import copy
import json
import os
import re
import threading
import time
import urllib.parse

import definitions
import fake_api_server
import serving

WATCH_BOOKMARK_SECONDS = 1
CORE = {"secrets", "configmaps", "services", "events", "serviceaccounts"}
BUILT_IN = {"networking.k8s.io", "authentication.k8s.io"}


class Store:
    """All objects, and what has happened to them."""

    def __init__(self):
        self.changed = threading.Condition()
        self.objects = {}
        self.history = []
        # Beyond those of a server that was here before, which are forgotten.
        self.version = self.horizon = int(time.time())
        self.applied = {}
        self.seen = {"drop": None, "expire": None}
        self.used = {}
        self.epoch = 0
        self.addresses = 0
        # Places of the ports that the gateway has put into services.
        self.ports = {}

    def put(self, path, found, kind):
        """Stores an object under a new version. The lock is held."""
        definitions.prune(path, found)
        self.version += 1
        found["metadata"]["resourceVersion"] = str(self.version)
        self.objects[path] = found
        self.history.append((self.version, path.rsplit("/", 1)[0], kind, copy.deepcopy(found)))
        self.changed.notify_all()

    def new(self, path, found):
        self.addresses += 1
        metadata = found.setdefault("metadata", {})
        parts = path.split("/")
        metadata["name"] = parts[-1]
        metadata["namespace"] = parts[parts.index("namespaces") + 1]
        metadata["uid"] = f"uid-{self.version}"
        metadata["generation"] = 1
        metadata.setdefault("creationTimestamp", f"2026-01-01T00:00:{self.addresses % 60:02}Z")
        self.put(path, found, "ADDED")

    def remove(self, path):
        found = self.objects.pop(path)
        self.version += 1
        found["metadata"]["resourceVersion"] = str(self.version)
        self.history.append((self.version, path.rsplit("/", 1)[0], "DELETED", found))
        owner = found["metadata"]["uid"]
        # What a garbage collector does.
        for other, object_ in list(self.objects.items()):
            owners = object_["metadata"].get("ownerReferences", [])
            if owners and all(reference["uid"] == owner for reference in owners):
                self.remove(other)
        self.changed.notify_all()

    def follow(self, script):
        """Does what users have done since. The lock is held."""
        wanted = script.get("objects", {})
        for path, spec in wanted.items():
            if self.applied.get(path) == spec and path in self.objects:
                continue
            found = self.objects.get(path)
            if found is None:
                self.new(path, copy.deepcopy(spec))
            else:
                for key in ("spec", "data", "stringData", "type"):
                    if key in spec:
                        found[key] = copy.deepcopy(spec[key])
                found["metadata"]["generation"] += 1
                self.put(path, found, "MODIFIED")
        for path in set(self.applied) - set(wanted):
            if path in self.objects:
                self.remove(path)
        self.applied = copy.deepcopy(wanted)
        for key in ("drop", "expire"):
            if script.get(key) != self.seen[key]:
                if self.seen[key] is not None or script.get(key) is not None:
                    self.epoch += 1
                    if key == "expire":
                        self.version += 1
                        self.horizon = self.version
                self.seen[key] = script.get(key)
                self.changed.notify_all()

    def once(self, rule):
        """Whether a rule that holds for some requests holds for this one."""
        if not rule:
            return False
        key = json.dumps(rule, sort_keys=True)
        self.used[key] = self.used.get(key, 0) + 1
        return self.used[key] <= rule["count"]


STORE = Store()


def keep_up(server):
    last = state = None
    while True:
        try:
            script = server.script()
        except (OSError, ValueError):
            script = last
        with STORE.changed:
            if script is not None and script != last:
                STORE.follow(script)
                last = script
            if STORE.version != state:
                state = STORE.version
                new = server.script_file.replace(".json", ".state.new")
                with open(new, "w", encoding="utf-8") as file:
                    json.dump(STORE.objects, file)
                os.replace(new, server.script_file.replace(".json", ".state"))
        time.sleep(0.01)


def metadata_only(found):
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": found["metadata"]}


class Handler(fake_api_server.Handler):
    retry_after = None
    is_lost = False

    def handle_request(self):
        self.retry_after, self.is_lost = None, False
        parts = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(parts.query))
        if self.command == "GET" and query.get("watch"):
            self.note()
            self.watch(parts.path, query)
            return
        super().handle_request()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_request

    def note(self):
        with self.server.lock, open(self.server.log_file, "a", encoding="utf-8") as log:
            log.write(json.dumps({"line": f"{self.command} {self.path}", "headers": [], "body": ""}) + "\n")

    def reply(self, status, body):
        if self.is_lost:
            self.close_connection = True
            self.connection.close()
            return
        text = body if isinstance(body, str) else json.dumps(body)
        data = text.encode("utf-8")
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(body, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        if self.retry_after:
            self.send_header("Retry-After", str(self.retry_after))
        self.end_headers()
        self.wfile.write(data)

    def checked(self, script, path, body=""):
        """A refusal, if a request is refused before it is looked at."""
        scheme, _, own = (self.headers.get("Authorization") or "").partition(" ")
        if scheme != "Bearer" or own not in script.get("own_tokens", []):
            return fake_api_server.failure(401, "Unauthorized")
        line = f"{self.command} {path}"
        if script.get("refuse") and re.search(script["refuse"], line):
            return 403, {"kind": "Status", "reason": "Forbidden", "code": 403, "message": f"cannot {line}"}
        busy = script.get("busy")
        with STORE.changed:
            if busy and re.search(busy["match"], line) and STORE.once(busy):
                self.retry_after = 1
                return fake_api_server.failure(429, "TooManyRequests")
            for fault in script.get("faults", []):
                is_meant = re.search(fault["match"], line) and re.search(fault.get("body", ""), body)
                if not is_meant or not STORE.once(fault):
                    continue
                if "status" in fault:
                    self.retry_after = fault.get("retry_after")
                    return fake_api_server.failure(fault["status"], "Fault")
                self.is_lost = True
        group = path.split("/")[2] if path.startswith("/apis/") else None
        if group and group not in BUILT_IN and group not in script.get("groups", []):
            return 404, "404 page not found\n"
        return None

    def answer(self, script, body):
        parts = urllib.parse.urlsplit(self.path)
        path, query = parts.path, dict(urllib.parse.parse_qsl(parts.query))
        refused = self.checked(script, path, body if isinstance(body, str) else body.decode())
        if refused:
            return refused
        if path == fake_api_server.REVIEWS or "/serviceaccounts/" in path:
            return super().answer(script, body)
        pieces = path.strip("/").split("/")
        if pieces[0] == "apis" and len(pieces) == 2:
            return 200, {"kind": "APIGroup", "preferredVersion": {"version": "v1"}}
        if pieces[0] == "apis" and len(pieces) == 3:
            return 200, {"kind": "APIResourceList", "resources": []}
        with STORE.changed:
            if self.command == "GET":
                return self.get(script, path, query)
            if self.command == "PATCH" and path.endswith("/status"):
                return self.status(script, path.removesuffix("/status"), json.loads(body))
            if self.command == "PATCH":
                return self.apply(script, path, json.loads(body))
            if self.command == "POST":
                found = json.loads(body)
                place = f"{path}/{found['metadata']['name']}"
                if place in STORE.objects:
                    return fake_api_server.failure(409, "AlreadyExists")
                STORE.new(place, found)
                return 201, found
            if path not in STORE.objects:
                return fake_api_server.failure(404, "NotFound")
            STORE.remove(path)
            return 200, {"kind": "Status", "status": "Success"}

    def get(self, script, path, query):
        if path in STORE.objects:
            return 200, STORE.objects[path]
        if path.rsplit("/", 2)[1] != script_namespace(path):
            return fake_api_server.failure(404, "NotFound")
        names = sorted(name for name in STORE.objects if name.rsplit("/", 1)[0] == path)
        names = [name for name in names if selected(STORE.objects[name], query)]
        start = int(query.get("continue", "0"))
        if start and STORE.once(script.get("stale")):
            return fake_api_server.failure(410, "Expired")
        size = min(int(query.get("limit", "500")), script.get("page", 500))
        more = start + size < len(names)
        items = [STORE.objects[name] for name in names[start : start + size]]
        if "PartialObjectMetadata" in self.headers.get("Accept", ""):
            # A real one writes an empty list of these so.
            items = [metadata_only(item) for item in items] or None
        metadata = {"resourceVersion": str(STORE.version)}
        if more:
            metadata["continue"] = str(start + size)
        return 200, {"kind": "List", "metadata": metadata, "items": items}

    def apply(self, script, path, wanted):
        if self.headers["Content-Type"] != "application/apply-patch+yaml" or "fieldManager=" not in self.path:
            return fake_api_server.failure(415, "UnsupportedMediaType")
        for port in wanted["spec"].get("ports", []):
            if wanted["kind"] == "Service" and "protocol" not in port:
                return fake_api_server.failure(500, "InternalError")
        found = STORE.objects.get(path)
        if found is None:
            found = wanted
            if wanted["kind"] == "Service":
                found["spec"]["clusterIP"] = f"10.43.0.{STORE.addresses % 250 + 1}"
                if script.get("balancer") and wanted["spec"]["type"] == "LoadBalancer":
                    found["status"] = {"loadBalancer": {"ingress": [{"ip": script["balancer"]}]}}
            STORE.new(path, found)
            STORE.ports[path] = ports_of(found)
            return 201, found
        before = copy.deepcopy(found)
        kept = {key: found["spec"][key] for key in ("clusterIP",) if key in found["spec"]}
        if wanted["kind"] == "Service":
            # Ports that others have put there stay.
            ours = STORE.ports.get(path, set()) | ports_of(wanted)
            others = [port for port in found["spec"].get("ports", []) if place_of(port) not in ours]
            kept["ports"] = wanted["spec"].get("ports", []) + others
            STORE.ports[path] = ports_of(wanted)
        found["spec"] = {**wanted["spec"], **kept}
        found["metadata"]["labels"] = wanted["metadata"]["labels"]
        found["metadata"]["ownerReferences"] = wanted["metadata"]["ownerReferences"]
        if found != before:
            STORE.put(path, found, "MODIFIED")
        return 200, found

    def status(self, script, path, change):
        found = STORE.objects.get(path)
        if found is None:
            return fake_api_server.failure(404, "NotFound")
        if self.headers["Content-Type"] != "application/merge-patch+json":
            return fake_api_server.failure(415, "UnsupportedMediaType")
        stale = change["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]
        if stale or STORE.once(script.get("conflict")):
            return fake_api_server.failure(409, "Conflict")
        found["status"] = {**found.get("status", {}), **change["status"]}
        STORE.put(path, found, "MODIFIED")
        return 200, found

    def watch(self, path, query):
        script = self.server.script()
        refused = self.checked(script, path)
        if refused:
            self.reply(*refused)
            return
        with STORE.changed:
            version, epoch = int(query["resourceVersion"]), STORE.epoch
            if version < STORE.horizon:
                self.reply(*fake_api_server.failure(410, "Expired"))
                return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        only_metadata = "PartialObjectMetadata" in self.headers.get("Accept", "")
        end = time.monotonic() + int(query["timeoutSeconds"])
        while time.monotonic() < end:
            with STORE.changed:
                if STORE.epoch == epoch and STORE.version <= version:
                    STORE.changed.wait(WATCH_BOOKMARK_SECONDS)
                expired = STORE.epoch != epoch and version < STORE.horizon
                dropped = STORE.epoch != epoch and not expired
                events = [event for event in STORE.history if event[0] > version and event[1] == path]
                version = STORE.version
                epoch = STORE.epoch
            if dropped:
                # As a server that dies: not even the end of the answer.
                self.close_connection = True
                self.connection.close()
                return
            if expired:
                status = {"kind": "Status", "status": "Failure", "reason": "Expired", "code": 410}
                self.event("ERROR", status)
                break
            for _, _, kind, found in events:
                if selected(found, query):
                    self.event(kind, metadata_only(found) if only_metadata else found)
            if not events:
                self.event("BOOKMARK", {"kind": "Bookmark", "metadata": {"resourceVersion": str(version)}})
        self.wfile.write(b"0\r\n\r\n")

    def event(self, kind, found):
        data = json.dumps({"type": kind, "object": found}).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


def place_of(port):
    return port["port"], port.get("protocol", "TCP")


def ports_of(service):
    return {place_of(port) for port in service["spec"].get("ports", [])}


def script_namespace(path):
    """The namespace of the path of a list."""
    pieces = path.split("/")
    return pieces[pieces.index("namespaces") + 1] if "namespaces" in pieces else None


def selected(found, query):
    labels = found["metadata"].get("labels", {})
    conditions = [condition.partition("=") for condition in query.get("labelSelector", "").split(",") if condition]
    return all(key in labels and (not sign or labels[key] == value) for key, sign, value in conditions)


class Server(serving.Server):
    def __init__(self, arguments, handler):
        super().__init__(arguments, handler)
        threading.Thread(target=keep_up, args=(self,), daemon=True).start()


if __name__ == "__main__":
    serving.Server = Server
    serving.main(Handler)
