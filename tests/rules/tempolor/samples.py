"""Bodies as the vendor sends them; the shapes are the vendor's, the texts are our own."""

from typing import Any

MP3 = "https://cdn.example/lantern.mp3?auth_key=1747-0-a%2Fb"
WAV = "https://cdn.example/lantern.wav?auth_key=1747-0-c"

SECTIONS = [
    {"start": 0.52, "end": 6.1, "text": "\n[verse]"},
    {"start": 6.1, "end": 9.84, "text": "Lanterns over paper streets"},
]

AUDIO_COMPLETE = {
    "item_id": "t2m_4c1d",
    "status": "main_succeeded",
    "audio_hi_status": "running",
    "lyrics_sections_status": "waiting",
    "event": "audio_complete",
    "model": "tempolor-latest",
    "title": "Paper Lanterns",
    "style": "Folk",
    "prompt": "gentle folk, two guitars",
    "duration": 187,
    "created_at": 1747207597,
    "finished_at": 1747207721,
    "audio_url": MP3,
    "audio_hi_url": None,
    "lyrics_sections": None,
}

WAV_COMPLETE_WITHOUT_MP3 = {
    "item_id": "2205",
    "status": "succeeded",
    "audio_hi_status": "sub_succeeded",
    "event": "wav_complete",
    "model": "TemPolor i4",
    "title": "Night Tram",
    "style": "ambient,techno",
    "duration": 262,
    "created_at": 1747278096,
    "finished_at": 1747278158000,
    "audio_hi_url": WAV,
}

STEMS_ANSWER: dict[str, Any] = {
    "status": 200000,
    "message": "success",
    "request_id": "5b0c0c3e-0d5e-4f57-9f0c-3f1f6f0f7a11",
    "data": {
        "stems": [{"item_id": "mss_9", "status": "succeeded", "stems_url": "https://cdn.example/s.zip?auth_key=1"}]
    },
}
