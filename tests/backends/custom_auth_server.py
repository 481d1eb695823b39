"""A custom authentication server of the cluster broker, version 0.5.0.

Script: {"answers": {"press-1": {"status": 200, "body": {…}}}}, by user name, or by the data of an enhanced authentication in
base64. Who is not in it is refused.
"""

import json
from urllib.parse import parse_qs, urlsplit

import serving


class Handler(serving.Handler):
    def answer(self, script, body):
        if self.command != "POST":
            return 405, "only POST"
        version = parse_qs(urlsplit(self.path).query).get("api-version")
        if version != ["0.5.0"]:
            return 422, {"supportedVersions": ["0.5.0"]}
        try:
            question = json.loads(body)
        except ValueError:
            return 400, "no JSON"
        if self.headers.get_content_type() != "application/json" or question.get("type") not in ("connect", "auth"):
            return 400, "no question"
        data = question.get("enhancedAuthentication", {}).get("data")
        answers = script.get("answers", {})
        for key in (data, question.get("username")):
            if key in answers:
                return answers[key]["status"], answers[key].get("body", "")
        return 403, {"reason": 135, "message": "nobody knows this client"}


if __name__ == "__main__":
    serving.main(Handler)
