"""Driving videos by Google's Veo (google-genai SDK), as Google Cloud serves it: this SDK makes
videos nowhere else."""

from typing import Any

from google import genai
from google.genai import errors, types

from restage4d.driving.framing import Letterbox
from restage4d.driving.hosted import (
    HostedDriving,
    JobExpired,
    refusal,
    service_error,
)
from restage4d.providers.api_keys import need_key

KEY = "GOOGLE_API_KEY"
MODEL = "veo-3.1-fast-generate-001"
_LENGTHS = (4, 6, 8)  # seconds
_PRICE = {
    "veo-3.1-generate-001": 0.20,
    "veo-3.1-fast-generate-001": 0.10,
}  # dollars per silent second, when this was written
_AVOID = "camera movement, zoom, cut, scene change, deformed limbs, text"


class VeoDriving(HostedDriving):
    """See `HostedDriving`. Raises `InputError` where there is no key."""

    service = "Veo"
    sizes = ((1280, 720), (720, 1280))

    def _client(self) -> Any:
        retry = types.HttpRetryOptions(attempts=5, initial_delay=1.0, max_delay=30.0)
        options = types.HttpOptions(
            base_url=self.config.base_url, timeout=120_000, retry_options=retry
        )
        return genai.Client(enterprise=True, api_key=need_key(KEY), http_options=options)

    def _seconds(self) -> int:
        return next((n for n in _LENGTHS if n >= self.config.seconds), _LENGTHS[-1])

    def _cost(self) -> str:
        price = _PRICE.get(self.config.model)
        about = (
            f"about ${price * self._seconds():.2f}" if price else "at Google's price for this model"
        )
        return (
            f"{self._seconds()} s of {self.config.model} are paid for, {about}; Google's price "
            "list counts."
        )

    def _start(self, picture: bytes, letterbox: Letterbox, prompt: str) -> str:
        config = types.GenerateVideosConfig(
            number_of_videos=1,
            duration_seconds=self._seconds(),
            aspect_ratio="16:9" if letterbox.size[0] > letterbox.size[1] else "9:16",
            negative_prompt=_AVOID,
            seed=self.config.seed,
            generate_audio=False,
        )
        source = types.GenerateVideosSource(
            prompt=prompt, image=types.Image(image_bytes=picture, mime_type="image/png")
        )
        client = self._client()  # closes itself when nobody holds it any longer
        try:
            operation = client.models.generate_videos(
                model=self.config.model, source=source, config=config
            )
        except Exception as error:
            raise _to_input_error(error) from error
        if not operation.name:
            raise service_error(self.service, None, "the reply names no operation", KEY)
        return operation.name

    def _poll(self, number: str) -> bytes | str | None:
        client = self._client()
        try:
            operation = client.operations.get(
                types.GenerateVideosOperation.model_validate({"name": number})
            )
        except errors.APIError as error:
            if error.code == 404:
                raise JobExpired from error
            raise _to_input_error(error) from error
        except Exception as error:
            raise _to_input_error(error) from error
        if not operation.done:
            return None
        if operation.error:
            raise refusal(self.service, str(operation.error.get("message") or operation.error))
        response = operation.response
        if (
            response is None
            or not response.generated_videos
            or response.generated_videos[0].video is None
        ):
            reasons = "; ".join(response.rai_media_filtered_reasons or []) if response else ""
            raise refusal(self.service, reasons or "the reply holds none, without a reason")
        video = response.generated_videos[0].video
        if not (video.video_bytes or video.uri):
            raise refusal(self.service, "the reply holds an empty one")
        return video.video_bytes or video.uri


def _to_input_error(error: Exception) -> Exception:
    if isinstance(error, errors.APIError):
        return service_error("Veo", error.code, error.message or str(error), KEY)
    return service_error("Veo", None, f"{type(error).__name__}: {error}", KEY)
