"""What each problem type means, and its cure; for `server.api.pages`.

Texts for people, and nothing else: no status and no title stands here.
"""

from __future__ import annotations

_BEGIN_ANEW = "Correct the client; the same request is refused again."
_OPERATOR = "Tell the operator of the hub, with the `X-Request-Id` of the answer."
_NO_ROUTE = "No route of the API leads here; it is listed because the table of refusals covers it."

# By code: what it means, and what to do.
MEANINGS: dict[str, tuple[str, str]] = {
    "alignment_refused": (f"An alignment placed no rows. {_NO_ROUTE}", _OPERATOR),
    "bad_request": (
        "What was sent is not HTTP, or not in the one way in which it is read here.",
        "Use a client library; look for a proxy that rewrites requests on the way.",
    ),
    "body_incomplete": (
        "The connection ended before the body did. Nothing was charged or kept.",
        "Send the same request again, with the same `Idempotency-Key`.",
    ),
    "body_too_large": (
        "The body is longer than this operation takes, as announced or as counted.",
        "Send less at a time: a smaller batch, or a delta in several versions.",
    ),
    "body_too_slow": (
        "The body did not arrive in time, which grows with what has come.",
        "Send it again over a better connection. Nothing was charged or kept.",
    ),
    "budget_exhausted": (f"A privacy budget is spent. {_NO_ROUTE}", "Wait for the next period."),
    "busy": (
        "The hub, or this partner at it, has as many requests at work as it may; or another delta "
        "of this contributor is being applied.",
        "Send the same request again after `Retry-After`.",
    ),
    "case_erased": (f"The file of a person's case was erased. {_NO_ROUTE}", _OPERATOR),
    "certificate_required": (
        "No client certificate was shown, and this operation needs one.",
        "Use the certificate of the node (`lianfang node join`); a proxy that ends TLS before the "
        "hub takes it away.",
    ),
    "certificate_superseded": (
        "The caller shows a certificate that it has renewed; the time in which both count is over.",
        "Let the program read the certificate of its node again; programs of Lianfang do so on "
        "their own. Use `lianfang node renew` where the new one was lost and the old one is "
        "still in its time.",
    ),
    "compliance_error": (
        "A rule stands against it that has no more special type.",
        "Look at agreement and policies (`lianfang audit agreement list`), then ask the operator.",
    ),
    "content_encoding": (
        "The body is compressed. Nothing here is unpacked, since a few bytes may become gigabytes.",
        "Send it as it is, without `Content-Encoding`.",
    ),
    "credentials": (f"An account's name and password do not fit. {_NO_ROUTE}", "Type them again."),
    "enrolment_refused": (
        "The invitation does not count: unknown, used, run out, or for another name or hub. It is "
        "never told which.",
        "Ask the operator of the hub for a new invitation.",
    ),
    "entry_pruned": (
        "An entry is past its retention and is no longer given out; its proofs still hold.",
        "Use the proof that was fetched in time.",
    ),
    "forwarded_certificate": (
        "The request claims a certificate in a header and does not come from a configured "
        "proxy, or the certificate that a proxy handed on does not hold.",
        "Take the header off; at the proxy, see `docs/operation/nginx.conf` and `proxies` in "
        "hub.json.",
    ),
    "head_too_large": (
        "The fields of the request are longer than 16 KiB together.",
        "Send fewer fields; look for cookies or tokens that a proxy adds.",
    ),
    "holder_refused": (
        "A key holder at another organisation refused; `holder` names it. Its words stay there.",
        "Ask that organisation, which finds the refusal in its own log.",
    ),
    "http_version": (
        "The request is of another version of HTTP than 1.1.",
        "Use HTTP/1.1; health checks of some load balancers have to be told so.",
    ),
    "idempotency_key": (
        "The field `Idempotency-Key` is missing or is not the id of the request in the body.",
        "Send the request's id, in hexadecimal.",
    ),
    "incident": (f"A rule of an incident's file stands against it. {_NO_ROUTE}", _OPERATOR),
    "insufficient_scope": (
        "The access token holds, and its scopes do not cover this operation.",
        "Ask for a token with the scope that `WWW-Authenticate` names, or send the request "
        "without one.",
    ),
    "internal_error": (
        "The hub failed in a way that it did not foresee. Whether the request took effect is open.",
        f"Send it again: every operation is safe to repeat. {_OPERATOR}",
    ),
    "invalid_client": (
        "The client that a token request names is not the one whose certificate was shown, or "
        "that certificate was renewed.",
        "Leave `client_id` out, or give the name in the certificate; show the certificate in use.",
    ),
    "invalid_identifier": (
        f"An identifier has no canonical form. {_NO_ROUTE}",
        "Correct the identifier.",
    ),
    "invalid_parameter": (
        "A parameter of path, query or head is missing, of another form, or out of range; `detail` "
        "names it and the rule, never its value.",
        _BEGIN_ANEW,
    ),
    "invalid_proof": (
        "A signature or proof does not hold under the key that is pinned for its signer.",
        "Sign with the identity key of this node; after a restore, compare the key with the "
        "agreement.",
    ),
    "invalid_scope": (
        "A token was asked for without a scope, or for one that does not exist.",
        "Name one or more of the scopes in `/.well-known/oauth-authorization-server`.",
    ),
    "invalid_table": (
        "A table does not hold together, or is too large.",
        "Make it again from the register.",
    ),
    "invalid_token": (
        "The access token has run out, was not made by this hub, or is bound to another "
        "certificate than the one that the connection shows.",
        "Ask for another token with the certificate that you will show beside it.",
    ),
    "legal_hold": (f"A hold stands against an erasure. {_NO_ROUTE}", "Wait until it is released."),
    "log_conflict": (
        "Somebody else appended to the log at the same time; nothing was entered.",
        "Send the same request again.",
    ),
    "log_corrupt": (
        "The hub's log does not hold together. The hub refuses everything that would have to be "
        "entered, and does not begin again by itself.",
        f"{_OPERATOR} The operator compares the log with the copies of the witnesses.",
    ),
    "malformed_message": (
        "The body does not decode as what the operation takes; `detail` names field and rule.",
        _BEGIN_ANEW,
    ),
    "media_type": ("`Content-Type` is another one than the operation takes.", _BEGIN_ANEW),
    "method_not_allowed": (
        "The path exists, and this method of it does not; `Allow` lists those that do.",
        _BEGIN_ANEW,
    ),
    "not_cosigned": (f"A witness did not cosign. {_NO_ROUTE}", _OPERATOR),
    "not_found": (
        "There is nothing here, or nothing for this caller; both have the same bytes.",
        "Compare epoch, version or hash with the list that the hub signs; take the whole table "
        "where a delta is no longer kept.",
    ),
    "not_permitted": (
        "Agreement or policies do not permit it, or this caller takes no part. The bytes are the "
        "same for all such cases; the hub has entered which one it was.",
        "Look whether an agreement is in force (`lianfang audit agreement list`) and whether it "
        "names this role, purpose and recipient.",
    ),
    "not_ready": (
        "The hub runs and cannot serve this yet: no epoch is in force, or holders are away.",
        "Try again after `Retry-After`; `/readyz` says when it is over.",
    ),
    "not_witnessed": (f"Too few witnesses cosigned a checkpoint. {_NO_ROUTE}", _OPERATOR),
    "out_of_turn": (
        "The step is not the one that comes next.",
        "Begin the exchange anew; never repeat one step of it alone.",
    ),
    "part_erased": (f"The private part of an entry was erased. {_NO_ROUTE}", _OPERATOR),
    "partner_revoked": (
        "The certificate or the whole partner was revoked at this hub. It counts from the next "
        "request on, on connections that are open too.",
        "Ask the operator of the hub; a revoked name is never given again.",
    ),
    "policy_error": (f"A set of policies cannot be used. {_NO_ROUTE}", _OPERATOR),
    "protocol_error": ("The request breaks the protocol; `detail` says where.", _BEGIN_ANEW),
    "quota_exhausted": (
        "The elements of this epoch are spent, at the hub or at a holder. Nothing was charged.",
        "Wait until `Retry-After`, or agree on a larger quota for the next epoch.",
    ),
    "range_not_satisfiable": (
        "The range begins behind the file's end; `Content-Range` tells its size.",
        "Fetch the file from its beginning: what is here already is of another version.",
    ),
    "replayed_message": (
        "The id was used for another request.",
        "Draw a new id; repeat a request only with the very same bytes.",
    ),
    "restored": (
        f"The hub was put back from a backup and is not settled. {_NO_ROUTE}",
        "Its operator runs `lianfang-hub settle`.",
    ),
    "rogue_holder": (
        "A holder broke the rules of a key set-up. It is not repeated with it.",
        _OPERATOR,
    ),
    "staff": (f"A rule of the register of people stands against it. {_NO_ROUTE}", _OPERATOR),
    "storage_failed": (
        "The hub cannot keep its record, so it gives no answer. Whether the request is entered is "
        "open; nothing was given out.",
        f"Send the same request again after `Retry-After`. {_OPERATOR}",
    ),
    "store_waits": (f"A store can go on only after something else. {_NO_ROUTE}", _OPERATOR),
    "target_too_long": (
        "The address is longer than any that means something here.",
        "Correct the client; nothing of a request belongs into its address.",
    ),
    "token_request": (
        "The form of a token request cannot be read, or has a field twice.",
        "Send `grant_type` and `scope` as `application/x-www-form-urlencoded`.",
    ),
    "too_few_holders": (
        "Fewer key holders can be reached than must answer. Nothing was charged that is not given.",
        "Send the same request again after `Retry-After`; show the light grey meanwhile.",
    ),
    "too_many_requests": (
        "This caller asks faster than it may: `RateLimit-Policy` tells how fast that is. It has "
        "nothing to do with the quota of an epoch, and nothing was charged.",
        "Wait for `Retry-After`; ask for many identifiers in one batch and fetch tables whole.",
    ),
    "transfer_coding": (
        "The body comes in a transfer coding other than `chunked`.",
        "Send a `Content-Length`, or `chunked` alone.",
    ),
    "two_lengths": (
        "The request has `Content-Length` and `Transfer-Encoding`: two programs could read two "
        "different requests from it.",
        "Look for the proxy that added one of them.",
    ),
    "unknown_alarm": (f"No open alarm has this number. {_NO_ROUTE}", _OPERATOR),
    "unknown_case": (f"No case has this number. {_NO_ROUTE}", _OPERATOR),
    "unknown_epoch": (
        "No epoch of this number is here, or none is in force.",
        "Fetch `/v1/epochs/current`; where there is none, the operator begins one.",
    ),
    "unknown_part": (f"No private part of an entry is kept. {_NO_ROUTE}", _OPERATOR),
    "unsupported_grant_type": (
        "A token was asked for by another grant than `client_credentials`.",
        "Ask with `grant_type=client_credentials`.",
    ),
    "unsupported_parameter": (
        "A value is well formed, and this hub does not do it; `detail` names the cure.",
        "Do what `detail` says.",
    ),
    "version_conflict": (
        "Another version of the table is in force than the delta begins at; `current_version` "
        "tells which.",
        "Make the delta against that version; two feeds of one contributor must not run at once.",
    ),
    "wire_version": (
        "Hub and node are too many versions apart: each speaks its own version and the one before "
        "it. `detail` names both and says which to update; the header `lianfang-wire` of every "
        "answer holds what the hub speaks.",
        "Update the side that `detail` names (`docs/operator.md`); nothing was charged or kept.",
    ),
    "wrong_epoch": (
        "The request is for another epoch or key than the one in force.",
        "Fetch the manifest again and make the request anew.",
    ),
    "wrong_share": ("A share does not belong to the key that it was given with.", _OPERATOR),
}
