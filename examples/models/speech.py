"""Text to speech, streamed sentence by sentence: each is a WAV file of its own that can be played at once.

pip install "unspool[speech]"
unspool serve examples/models/speech.py
"""

from unspool.engines.speech import Speech

speech = Speech("acme/speech", slots=2, max_characters=5000)
