"""Files in and out: what an author sees of them, where they are kept, how inputs come and outputs go.

Used by workers and by the HTTP side alike, and knows neither.
"""
