"""Generate the OpenAPI 3.1 description of the request that a client receives and the answers that it may give."""

from __future__ import annotations

from typing import Any

from live_push import __version__

from . import headers, reply
from .json_schema import Schema, body_schema
from .options import PayloadOptions
from .sample import sample

_TEXT: Schema = {"type": "string"}
_WHOLE: Schema = {"type": "integer", "minimum": 0}

_HEADERS: tuple[tuple[str, str, Schema, bool], ...] = (
    (headers.USER_AGENT, "the sender and its version", {**_TEXT, "pattern": "^live-push/"}, True),
    (headers.WEBHOOK_ID, "the event id: the same at every endpoint, retry and redelivery", _TEXT, True),
    (headers.WEBHOOK_TIMESTAMP, "Unix seconds of this attempt", _WHOLE, True),
    (
        headers.WEBHOOK_SIGNATURE,
        "Standard Webhooks signatures over id.timestamp.body, if there is a signing secret; two during a rotation",
        {**_TEXT, "pattern": "^v1,[A-Za-z0-9+/]+=*( v1,[A-Za-z0-9+/]+=*)*$"},
        False,
    ),
    (
        headers.SEQUENCE,
        "increases with every push of the same member: ignore a push below the highest one seen; absent on a test push",
        _WHOLE,
        False,
    ),
    (headers.ATTEMPT, "number of this attempt, from 1", {"type": "integer", "minimum": 1}, True),
    (headers.TEST, "present on test pushes only", {"const": "1"}, False),
)

_RETRY_AFTER: Schema = {
    "Retry-After": {
        "description": "seconds or an HTTP date; nothing is sent to the endpoint until then, for at most six hours",
        "schema": _TEXT,
    }
}

_RETRIED = "Failed; retried on schedule."


def openapi(options: PayloadOptions | None = None) -> dict[str, Any]:
    """Return an OpenAPI 3.1 document; its ``webhooks`` describe the push as an endpoint with these options gets it."""
    schema = body_schema(options)
    del schema["$schema"], schema["$id"]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "live_push",
            "version": __version__,
            "description": "What a client's endpoint receives at every update of a member, and what it may answer.",
        },
        "webhooks": {
            "profileUpdated": {
                "post": {
                    "operationId": "profileUpdated",
                    "summary": "A member's profile was created or updated",
                    "description": "Sent at least once per event: recognize repetitions by the event id.",
                    "security": [{}, {"basic": []}, {"apiKey": []}],
                    "parameters": [_parameter(*header) for header in _HEADERS],
                    "requestBody": {
                        "required": True,
                        "content": {
                            headers.JSON: {
                                "schema": {"$ref": "#/components/schemas/Profile"},
                                "example": sample(options),
                            }
                        },
                    },
                    "responses": _responses(),
                }
            }
        },
        "components": {
            "schemas": {"Profile": schema, "ThirdPartyId": _third_party_id()},
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic", "description": "user name and password in UTF-8"},
                "apiKey": {"type": "apiKey", "in": "header", "name": headers.API_KEY},
            },
        },
    }


def _parameter(name: str, description: str, schema: Schema, required: bool) -> Schema:
    return {"name": name, "in": "header", "description": description, "required": required, "schema": schema}


def _responses() -> dict[str, Any]:
    return {
        "2XX": {
            "description": "Accepted. Only third-party ID synchronization reads the body; then it must have the id.",
            "content": {
                headers.JSON: {
                    "schema": {"$ref": "#/components/schemas/ThirdPartyId"},
                    "examples": {
                        "captured": {
                            "summary": "with third-party ID synchronization",
                            "value": {reply.KEY: "123456789"},
                        },
                        "plain": {"summary": "without third-party ID synchronization", "value": {}},
                    },
                }
            },
        },
        "3XX": {"description": "Failed: redirects are never followed. Retried on schedule."},
        "410": {"description": "Gone: failed for good, and the endpoint is disabled."},
        "413": {"description": "Too large: failed for good."},
        "429": {"description": _RETRIED, "headers": _RETRY_AFTER},
        "503": {"description": _RETRIED, "headers": _RETRY_AFTER},
        "default": {"description": _RETRIED, "headers": _RETRY_AFTER},
    }


def _third_party_id() -> Schema:
    return {
        "type": "object",
        "properties": {
            reply.KEY: {
                "description": "the client's own id of the member; trimmed, and a whole number becomes text",
                "anyOf": [{"type": "string", "minLength": 1}, {"type": "integer"}],
            }
        },
    }
