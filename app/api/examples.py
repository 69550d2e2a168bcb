"""The example of a task in the OpenAPI document: a song, as the gateway shows it once its mp3 is there."""

from typing import Any, Final

_AUDIO: Final = {
    "status": "ready",
    "url": "https://files.example/t2m_81f0.mp3?auth_key=1766930521-0-0-5e1c",
    "expires_at": "2026-12-28T14:02:01Z",
    "archive": None,
}

TASK: Final[dict[str, Any]] = {
    "id": "019b4e2c-7a10-7c3e-9d42-5f0f6a1f2b11",
    "kind": "song.generate",
    "status": "main_succeeded",
    "client": "studio",
    "reference": "order-17",
    "metadata": {"shelf": "evening"},
    "params": {"prompt": "slow pop ballad, piano", "model": "tempolor-latest"},
    "submitted_model": None,
    "webhook_url": "https://hooks.example/tempolor",
    "webhook_events": None,
    "retry_of": None,
    "items": [
        {
            "item_id": "t2m_81f0",
            "status": "main_succeeded",
            "title": "Harbour Lights",
            "style": "Pop",
            "model": "tempolor-latest",
            "duration_s": 187,
            "lyrics": "[verse]\nHarbour lights, a quiet shore",
            "lyrics_sections": None,
            "artifacts": {
                "audio": _AUDIO,
                "audio_hi": {"status": "pending", "url": None, "expires_at": None, "archive": None},
            },
            "vendor": {
                "item_id": "t2m_81f0",
                "title": "Harbour Lights",
                "style": "Pop",
                "duration": 187,
                "status": "main_succeeded",
                "audio_hi_status": "running",
                "audio_url": _AUDIO["url"],
            },
            "last_callback_at": "2026-12-25T14:02:01.532118Z",
            "last_query_at": None,
        }
    ],
    "waiting_for": None,
    "expected_playable_at": None,
    "error": None,
    "warnings": [],
    "version": 5,
    "created_at": "2026-12-25T13:59:55.104223Z",
    "submitted_at": "2026-12-25T13:59:55.847190Z",
    "playable_at": "2026-12-25T14:02:01.532118Z",
    "finished_at": None,
    "updated_at": "2026-12-25T14:02:01.532118Z",
    "deadline_at": "2026-12-25T14:59:55.847190Z",
}
