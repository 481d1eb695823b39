"""As much of the API server of Kubernetes as a review of tokens needs.

Script: {"own_tokens": ["own-1"], "tokens": {"…": {"username": "system:serviceaccount:plant:press", "audiences": ["…"]}},
"annotations": {"plant/press": {"aio-broker-auth/floor": "1"}}}
"""

import json
import re

import serving

REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
ACCOUNT = re.compile(r"/api/v1/namespaces/([a-z0-9-]+)/serviceaccounts/([a-z0-9.-]+)")


def failure(status, reason):
    return status, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": status}


class Handler(serving.Handler):
    def answer(self, script, body):
        scheme, _, own = (self.headers.get("Authorization") or "").partition(" ")
        if scheme != "Bearer" or own not in script.get("own_tokens", []):
            return failure(401, "Unauthorized")
        if script.get("forbidden"):
            return failure(403, "Forbidden")
        if self.command == "POST" and self.path == REVIEWS:
            return self.review(script, json.loads(body))
        account = ACCOUNT.fullmatch(self.path)
        if self.command == "GET" and account:
            annotations = script.get("annotations", {}).get("/".join(account.groups()))
            if annotations is None:
                return failure(404, "NotFound")
            return 200, {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"annotations": annotations}}
        return failure(404, "NotFound")

    def review(self, script, review):
        known = script.get("tokens", {}).get(review["spec"]["token"])
        asked = review["spec"].get("audiences", [])
        if known is None:
            review["status"] = {"error": "[invalid bearer token, service account token has expired]"}
            return 201, review
        audiences = [audience for audience in asked if audience in known["audiences"]]
        # A server that does not know of audiences names none, and says yes nevertheless.
        if not audiences and not script.get("ignores_audiences"):
            review["status"] = {"error": "[invalid bearer token, token audiences are not valid]"}
            return 201, review
        review["status"] = {
            "authenticated": True,
            "user": {"username": known["username"], "groups": ["system:serviceaccounts"]},
            "audiences": audiences,
        }
        return 201, review


if __name__ == "__main__":
    serving.main(Handler)
