"""An HTTP server as people wrote them for mosquitto-auth-plug: form posts to /auth, /superuser and /acl, answered by the
status alone.

Script: {"users": {"press-1": "secret"}, "superusers": ["boss"], "acl": [["press-1", "plant/1", 2]]}
"""

from urllib.parse import parse_qsl

import serving

FIELDS = ["username", "password", "topic", "acc", "clientid"]


class Handler(serving.Handler):
    def answer(self, script, body):
        pairs = parse_qsl(body, keep_blank_values=True, strict_parsing=True)
        # Such servers read the fields by their place or by their names; both must be right.
        if self.command != "POST" or [name for name, _ in pairs] != FIELDS:
            return 400, "five fields, in order"
        if self.headers.get_content_type() != "application/x-www-form-urlencoded":
            return 415, ""
        username, password, topic, acc, _ = (value for _, value in pairs)
        allowed = {
            "/auth": script.get("users", {}).get(username) == password and acc == "-1",
            "/superuser": username in script.get("superusers", []) and acc == "-1",
            "/acl": [username, topic, int(acc)] in script.get("acl", []),
        }
        if self.path not in allowed:
            return 404, ""
        return (200, "") if allowed[self.path] else (403, "")


if __name__ == "__main__":
    serving.main(Handler)
