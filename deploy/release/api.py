"""Google's JSON APIs over HTTP.

The address of a service can be replaced by gcloud's own variable, CLOUDSDK_API_ENDPOINT_OVERRIDES_SERVICE.
"""

import json
import os
import subprocess
import urllib.error
import urllib.parse
import urllib.request

from .failure import Failure

REQUEST_TIMEOUT = 60
# A call is repeated when the network or the service fails, after 1, 2, 4 and 8 seconds. Every change carries an etag,
# so a change whose answer was lost is refused when it is repeated, and never made twice.
MAX_ATTEMPTS = 5
TRANSIENT = {408, 429, 500, 502, 503, 504}


class NotFound(Failure):
    """The resource does not exist."""


class Denied(Failure):
    """The caller may not do this."""


class Conflict(Failure):
    """Another writer was faster: the etag is not the resource's any more, or the resource exists already."""


class Unavailable(Failure):
    """The service did not answer, in any of the attempts."""


class Api:
    def __init__(self, clock, token=None):
        self.clock = clock
        self._fetch_token = token or gcloud_token
        self._token = None

    def get(self, service, path, **query):
        return self.call("GET", service, path, query=query)

    def call(self, method, service, path, query=None, body=None):
        """The answer as JSON."""
        url = f"{endpoint(service)}/{path}"
        if query:
            url += "?" + urllib.parse.urlencode(query)
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                return self._send(method, url, body)
            except Unavailable:
                if attempt == MAX_ATTEMPTS:
                    raise
                self.clock.sleep(2 ** (attempt - 1))

    def _send(self, method, url, body):
        status, answer = self._request(method, url, body)
        if status == 401:
            # A token lives for an hour, and a canary may be watched for longer.
            self._token = None
            status, answer = self._request(method, url, body)
        if status >= 400:
            raise failure(f"{method} {url}", status, answer)
        return json.loads(answer or "{}")

    def _request(self, method, url, body):
        """(HTTP status, text of the answer)"""
        self._token = self._token or self._fetch_token()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")
        except OSError as error:
            raise Unavailable(f"failed to {method} {url}: {error}", "check the network, then run it again") from error


def endpoint(service):
    override = os.environ.get(f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{service.upper()}")
    return (override or f"https://{service}.googleapis.com").rstrip("/")


def gcloud_token():
    result = subprocess.run(["gcloud", "auth", "print-access-token"], capture_output=True, text=True)
    if result.returncode:
        raise Denied(f"gcloud has no access token: {result.stderr.strip()}", "gcloud auth login")
    return result.stdout.strip()


def failure(call, status, answer):
    """The error of an HTTP status, with the service's own words."""
    try:
        answer = json.loads(answer)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        pass
    text = f"failed to {call}: {status} {answer}"
    if status == 404:
        return NotFound(text, "check project, region and name")
    if status in (401, 403):
        return Denied(text, "grant the permission that the message names, or use another account: gcloud auth login")
    if status in (409, 412):
        return Conflict(text, "run it again")
    if status in TRANSIENT:
        return Unavailable(text, "wait for the service, then run it again")
    return Failure(text, "correct what the message names, then run it again")
