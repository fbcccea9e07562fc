"""The audit log on disk: durable before the answer, witnessed before it is published."""
