"""A small OpenID provider over real HTTPS, as its own process; honest unless it is told otherwise.

    python issuer_process.py CERTIFICATE KEY     prints its address

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
ALGORITHMS = {"RS256": lambda: RSAKey.generate_key(2048), "ES256": lambda: ECKey.generate_key("P-256")}
STATE = {"now": None, "person": {"sub": "s-1"}, "lie": "", "algorithm": "RS256", "asked": []}
CODES = {}


def new_key(algorithm):
    key = ALGORITHMS[algorithm]()
    return type(key).import_key({**key.as_dict(private=True), "kid": secrets.token_hex(4)})


STATE["key"] = new_key("RS256")


def public(key):
    return {**key.as_dict(private=False), "use": "sig"}


def claims_of(code):
    now = STATE["now"] or int(time.time())
    claims = {
        "iss": STATE["address"], "aud": CLIENT, "iat": now, "exp": now + 300,
        "nonce": code["nonce"], "auth_time": now, **STATE["person"],
    }  # fmt: skip
    match STATE["lie"]:
        case "wrong_nonce":
            claims["nonce"] = "another"
        case "no_nonce":
            del claims["nonce"]
        case "wrong_aud":
            claims["aud"] = "somebody-else"
        case "further_aud":
            claims["aud"] = [CLIENT, "somebody-else"]
        case "wrong_azp":
            claims["azp"] = "somebody-else"
        case "expired":
            claims |= {"iat": now - 400, "exp": now - 100}
        case "old":
            claims |= {"iat": now - 7200, "exp": now + 300}
        case "future":
            claims |= {"iat": now + 7200, "exp": now + 9000}
        case "no_exp":
            del claims["exp"]
        case "endless":
            claims["exp"] = float("inf")
        case "other_issuer":
            claims["iss"] = "https://issuer.example"
        case "no_sub":
            del claims["sub"]
        case "long_sub":
            claims["sub"] = "s" * 300
        case "stale_proof":
            claims["auth_time"] = now - 3600
    return claims


def token_of(code):
    claims, key, algorithm = claims_of(code), STATE["key"], STATE["algorithm"]
    header = {"alg": algorithm, "kid": key.kid}
    match STATE["lie"]:
        case "none":
            head = b64(json.dumps({"alg": "none", "kid": key.kid}).encode())
            return f"{head}.{b64(json.dumps(claims).encode())}."
        case "hs256":
            # The classic: the public key, which everybody has, taken for a shared secret.
            # The library refuses to do it, so that it is done by hand.
            head = json.dumps({"alg": "HS256", "kid": key.kid}).encode()
            signed = f"{b64(head)}.{b64(json.dumps(claims).encode())}"
            mac = hmac.digest(key.as_pem(private=False), signed.encode(), "sha256")
            return f"{signed}.{b64(mac)}"
        case "foreign_key":
            other = new_key(algorithm)
            return jwt.encode(header, claims, other, algorithms=[algorithm])
        case "own_key_in_header":
            other = new_key("ES256")
            named = {"alg": "ES256", "kid": key.kid, "jwk": other.as_dict(private=False)}
            return jwt.encode(named, claims, other, algorithms=["ES256"])
        case "logout_token":
            return jwt.encode({**header, "typ": "logout+jwt"}, claims, key, algorithms=[algorithm])
        case "tampered":
            parts = jwt.encode(header, claims, key, algorithms=[algorithm]).split(".")
            parts[1] = b64(json.dumps({**claims, "sub": "root"}).encode())
            return ".".join(parts)
        case "no_token":
            return 7
        case "list":
            return jws.serialize_compact(header, "[1]", key, algorithms=[algorithm])
    return jwt.encode(header, claims, key, algorithms=[algorithm])


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
        assert fields["response_type"] == "code" and fields["client_id"] == CLIENT
        assert fields["code_challenge_method"] == "S256" and "openid" in fields["scope"].split()
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
    STATE["address"] = f"https://localhost:{server.server_address[1]}"
    print(STATE["address"], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
