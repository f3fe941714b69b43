"""The version of this distribution, alone in its file so that builds read it without importing anything."""

VERSION = "0.1.0"
