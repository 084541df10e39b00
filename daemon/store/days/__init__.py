"""The sample store: whole days of readings in bulk, never a row per sample. The way in is `store.DayStore`.

A day (UTC) is open while it has *slots*: one packed row per metric, time of reading, and block of services, written as the reading comes.
Closing it makes one compressed *series* per metric and service of them. A sample that comes late is a slot again, beside the series.

On SQLite a day is a file, on PostgreSQL a partition: dropping a day costs nothing, whatever was in it.
"""
