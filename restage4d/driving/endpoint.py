"""One question to a language model behind an OpenAI-compatible endpoint; a local server will do."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from restage4d.errors import InputError
from restage4d.providers.api_keys import find_key

KEY = "OPENAI_API_KEY"  # local servers take any


@dataclass(frozen=True)
class EndpointConfig:
    """``base_url`` of the endpoint ("http://localhost:11434/v1" ...) and its ``model``; ``timeout``
    in seconds per try."""

    base_url: str
    model: str
    timeout: float = 60.0


def ask_model(
    config: EndpointConfig,
    messages: list[dict[str, Any]],
    what: str,
    remedy: str,
    schema: dict[str, Any] | None = None,
) -> str:
    """The model's reply, "" for none. A busy endpoint is asked again.

    Args:
        config: whom to ask.
        messages: as the API's chat completions take them.
        what: of errors: what could not be done, "The prompt could not be refined".
        remedy: of errors.
        schema: JSON schema that the reply shall follow, named "script"; endpoints that know no
            schemas are asked without.

    Raises:
        InputError: the endpoint cannot be reached, refuses, or does not reply as such an endpoint.
    """
    try:
        import openai
    except ImportError as error:
        raise InputError(
            f"{what}: the module openai is missing.", "Install restage4d[hosted]."
        ) from error

    client = openai.OpenAI(
        api_key=find_key(KEY) or "none",
        base_url=config.base_url,
        timeout=config.timeout,
        max_retries=3,
    )
    asked: dict[str, Any] = {"model": config.model, "messages": messages}
    asked |= {"temperature": 0, "seed": 0}
    shaped = {"name": "script", "strict": True, "schema": schema}
    shape: dict[str, Any] = {"response_format": {"type": "json_schema", "json_schema": shaped}}
    try:
        if schema:
            with suppress(openai.BadRequestError, openai.UnprocessableEntityError):
                return _read_text(client.chat.completions.create(**asked, **shape))
        return _read_text(client.chat.completions.create(**asked))
    except openai.OpenAIError as error:
        message = " ".join(str(error).split())[:300]
        raise InputError(
            f"{what} by {config.model} at {config.base_url}: {message}", remedy
        ) from error
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise InputError(
            f"{config.base_url} does not reply as an OpenAI-compatible endpoint does.", remedy
        ) from error


def _read_text(reply: Any) -> str:
    return reply.choices[0].message.content or ""
