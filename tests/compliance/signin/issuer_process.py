"""A small OpenID provider over real HTTPS, as its own process; honest unless it is told otherwise.

    python issuer_process.py CERTIFICATE KEY HOST     prints its address

POST /control with JSON changes who is signed in there, what time it is, and how it lies:
`{"now": ..., "person": {...}, "lie": "wrong_nonce", "rotate": true}`. Clients are `lianfang` with
the secret `s3cret%:+ of the client`, by HTTP Basic.
"""

import base64
import gzip
import hashlib
import hmac
import http.server
import json
import secrets
import ssl
import sys
import time
import urllib.parse

from joserfc import jws, jwt
from joserfc.jwk import ECKey, RSAKey

CLIENT, SECRET = "lianfang", "s3cret%:+ of the client"
ALGORITHMS = {
    "RS256": lambda: RSAKey.generate_key(2048),
    "ES256": lambda: ECKey.generate_key("P-256"),
}
STATE = {"now": None, "person": {"sub": "s-1"}, "lie": "", "algorithm": "RS256", "asked": []}
CODES = {}


def new_key(algorithm):
    key = ALGORITHMS[algorithm]()
    return type(key).import_key({**key.as_dict(private=True), "kid": secrets.token_hex(4)})


STATE["key"] = new_key("RS256")


def public(key):
    return {**key.as_dict(private=False), "use": "sig"}


CLAIM_LIES = {
    "wrong_nonce": lambda now: {"nonce": "another"},
    "no_nonce": lambda now: {"nonce": None},
    "wrong_aud": lambda now: {"aud": "somebody-else"},
    "further_aud": lambda now: {"aud": [CLIENT, "somebody-else"]},
    "wrong_azp": lambda now: {"azp": "somebody-else"},
    "expired": lambda now: {"iat": now - 400, "exp": now - 100},
    "old": lambda now: {"iat": now - 7200},
    "future": lambda now: {"iat": now + 7200, "exp": now + 9000},
    "no_exp": lambda now: {"exp": None},
    "endless": lambda now: {"exp": float("inf")},
    "other_issuer": lambda now: {"iss": "https://issuer.example"},
    "no_sub": lambda now: {"sub": None},
    "long_sub": lambda now: {"sub": "s" * 300},
    "stale_proof": lambda now: {"auth_time": now - 3600},
}


def claims_of(code):
    now = STATE["now"] or int(time.time())
    claims = {
        "iss": STATE["address"], "aud": CLIENT, "iat": now, "exp": now + 300,
        "nonce": code["nonce"], "auth_time": now, **STATE["person"],
    }  # fmt: skip
    claims |= CLAIM_LIES.get(STATE["lie"], lambda now: {})(now)
    return {name: value for name, value in claims.items() if value is not None}


def token_of(code):
    claims, key, algorithm = claims_of(code), STATE["key"], STATE["algorithm"]
    header = {"alg": algorithm, "kid": key.kid}
    make = SIGNING_LIES.get(STATE["lie"])
    return make(header, claims, key) if make else signed(header, claims, key)


def signed(header, claims, key):
    return jwt.encode(header, claims, key, algorithms=[header["alg"]])


def unsigned(header, claims, key):
    return f"{by_hand({**header, 'alg': 'none'}, claims)}."


def by_public_key(header, claims, key):
    """The classic: the public key, which everybody has, taken for a shared secret."""
    # The library refuses to do it, so that it is done by hand.
    text = by_hand({**header, "alg": "HS256"}, claims)
    return f"{text}.{b64(hmac.digest(key.as_pem(private=False), text.encode(), 'sha256'))}"


def by_own_key_in_header(header, claims, key):
    other = new_key("ES256")
    named = {"alg": "ES256", "kid": key.kid, "jwk": other.as_dict(private=False)}
    return signed(named, claims, other)


def tampered(header, claims, key):
    parts = signed(header, claims, key).split(".")
    return f"{by_hand(header, {**claims, 'sub': 'root'})}.{parts[2]}"


def by_hand(header, claims):
    return ".".join(b64(json.dumps(part).encode()) for part in (header, claims))


SIGNING_LIES = {
    "none": unsigned,
    "hs256": by_public_key,
    "foreign_key": lambda header, claims, key: signed(header, claims, new_key(header["alg"])),
    "own_key_in_header": by_own_key_in_header,
    "logout_token": lambda header, claims, key: signed(
        {**header, "typ": "logout+jwt"}, claims, key
    ),
    "tampered": tampered,
    "no_token": lambda header, claims, key: 7,
    "list": lambda header, claims, key: jws.serialize_compact(
        header, "[1]", key, algorithms=[header["alg"]]
    ),
}


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        path, _, query = self.path.partition("?")
        STATE["asked"].append(path)
        fields = dict(urllib.parse.parse_qsl(query))
        match path:
            case "/.well-known/openid-configuration":
                self.answer(self.metadata())
            case "/jwks":
                keys = [public(STATE["key"]), {"kty": "oct", "k": "AAAA"}, {"kty": "new"}, 7]
                self.answer({"keys": keys})
            case "/authorize":
                self.authorize(fields)
            case "/asked":
                self.answer(STATE["asked"])
            case _:
                self.answer({}, 404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        if self.path == "/control":
            wanted = json.loads(body)
            if wanted.pop("rotate", False) or "algorithm" in wanted:
                STATE["key"] = new_key(wanted.get("algorithm", STATE["algorithm"]))
            STATE.update(wanted)
            self.answer({})
        else:
            self.token(dict(urllib.parse.parse_qsl(body)))

    def metadata(self):
        address, lie = STATE["address"], STATE["lie"]
        found = {
            "issuer": "https://issuer.example" if lie == "calls_itself_otherwise" else address,
            "authorization_endpoint": f"{address}/authorize",
            "token_endpoint": f"{address}/token",
            "jwks_uri": f"{address}/jwks",
            "authorization_response_iss_parameter_supported": True,
        }
        if lie == "plain_http":
            found["token_endpoint"] = found["token_endpoint"].replace("https", "http")
        if lie == "endless_metadata":
            found["more"] = "x" * (1 << 20)
        return found

    def authorize(self, fields):
        assert (fields["response_type"], fields["client_id"]) == ("code", CLIENT)
        assert fields["code_challenge_method"] == "S256"
        assert "openid" in fields["scope"].split()
        code, lie = secrets.token_urlsafe(16), STATE["lie"]
        CODES[code] = fields
        back = {"code": code, "state": fields["state"], "iss": STATE["address"]}
        match lie:
            case "wrong_iss":
                back["iss"] = "https://issuer.example"
            case "no_iss":
                del back["iss"]
            case "wrong_state":
                back["state"] = "x" * 43
            case "error":
                back = {"error": "access_denied", "state": fields["state"], "iss": STATE["address"]}
            case "error_and_code":
                back["error"] = "<script>alert(1)</script>"
            case "no_code":
                del back["code"]
            case "long_code":
                back["code"] = "c" * 1500
        STATE["last"] = fields
        self.send_response(302)
        self.send_header("location", f"{fields['redirect_uri']}?{urllib.parse.urlencode(back)}")
        self.send_header("content-length", "0")
        self.end_headers()

    def token(self, fields):
        given = base64.b64decode(self.headers.get("authorization", " ").split(" ")[1]).decode()
        client, _, secret = given.partition(":")
        known = CODES.pop(fields.get("code"), None)
        verifier = hashlib.sha256(fields.get("code_verifier", "").encode()).digest()
        is_good = (
            known is not None
            and (urllib.parse.unquote(client), urllib.parse.unquote(secret)) == (CLIENT, SECRET)
            and fields["redirect_uri"] == known["redirect_uri"]
            and b64(verifier) == known["code_challenge"]
        )
        if not is_good:
            self.answer({"error": "invalid_grant"}, 400)
            return
        match STATE["lie"]:
            case "redirect":
                self.send_response(307)
                self.send_header("location", "https://elsewhere.invalid/token")
                self.send_header("content-length", "0")
                self.end_headers()
            case "huge":
                self.answer({"id_token": "x" * (1 << 21)})
            case "packed":
                data = gzip.compress(json.dumps({"id_token": "x" * (1 << 24)}).encode())
                self.raw(200, data, "application/json", {"content-encoding": "gzip"})
            case "html":
                self.raw(200, b"<p>Sign in</p>", "text/html")
            case "no_json":
                self.raw(200, b"{", "application/json")
            case "array":
                self.answer([1])
            case _:
                token = token_of(known)
                self.answer({"id_token": token, "token_type": "Bearer", "access_token": "a"})

    def answer(self, value, status=200):
        self.raw(status, json.dumps(value).encode(), "application/json")

    def raw(self, status, data, kind, more=None):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        for name, value in (more or {}).items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(data)
        except OSError:
            self.close_connection = True


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    server.socket = context.wrap_socket(server.socket, server_side=True)
    STATE["address"] = f"https://{sys.argv[3]}:{server.server_address[1]}"
    sys.stdout.write(f"{STATE['address']}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
