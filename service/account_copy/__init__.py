"""The copy of scores and alerts in Redis: its layout, who writes it and who reads it.

Redis is a cache. Whatever is here can be wiped and is made again from the output topics.
"""
