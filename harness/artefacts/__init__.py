"""Artefacts: kernel, emulator, image and programs, each found by the hash of its inputs."""
