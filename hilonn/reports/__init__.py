"""What a run came to, on one page that needs no network."""

from hilonn.reports.page import report

__all__ = ["report"]
