"""Object storage: objects at `s3://BUCKET/KEY`, read and written whole, with a bounded copy on this disk.

pyarrow speaks S3, and is imported where such an address is met; a path of this disk costs nothing here.
"""
