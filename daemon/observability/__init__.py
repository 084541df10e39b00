"""How the daemon is watched from outside: logs, metrics, health and the service manager. The lowest layer: it imports nothing of ours.

logs        structlog set-up, bound context
redaction   the second net that keeps secrets out of lines
metrics     what `/metrics` shows
health      what `/readyz` and `/healthz` show
sd_notify   messages to systemd
watchdog    when systemd is told that all is well
"""
