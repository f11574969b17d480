"""A QEMU for tests: speaks QMP on the descriptor it is given and plays a script on its console.

The script is the JSON file ``$FAKE_QEMU``; its keys are all optional::

    refuse    stderr text, with which a guest (or KVM) ends at once with exit code 1
    console   [[seconds to wait, text], ...]
    end       exit code with which it ends after the console (without: it goes on until quit)
    aborts    whether it aborts after the console; a path: only if there is no such file, made then
    reset     whether it says that the guest reset itself before it ends
    props     properties of the CPU model
    values    property → value, for qom-get
    running   whether its CPU runs
    halts     whether the probe guest comes to its end
    nmi       text that an NMI prints
    ports     [chardev's id, text] of serial ports that are files, written when it goes on
    deaf      commands that are never answered
    sandbox   whether it has the option -sandbox
"""

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

script = json.loads(Path(os.environ["FAKE_QEMU"]).read_text())

#: The guest of harness.guest.probe_guest, which is no guest to play the script for.
PROBE = any(word.endswith("probe.elf") for word in sys.argv)
GUEST = "-kernel" in sys.argv and not PROBE

if "--version" in sys.argv:
    print("QEMU emulator version 7.2.0 (fake)")
    sys.exit(0)
if "-version" in sys.argv:
    sys.exit(0 if script.get("sandbox") else 1)
if "refuse" in script and (GUEST or "kvm" in sys.argv):
    sys.stderr.write(script["refuse"])
    sys.exit(1)


def say(text: str) -> None:
    os.write(1, text.encode("latin-1"))


chardev = next(a for a in sys.argv if a.startswith("socket,id=qmp,fd="))
monitor = socket.socket(fileno=int(chardev.rpartition("=")[2]))
lock = threading.Lock()


def send(message: dict[str, Any]) -> None:
    message = {key: value for key, value in message.items() if value is not None}
    with lock:
        monitor.sendall(json.dumps(message).encode() + b"\n")


def event(name: str, data: dict[str, Any]) -> None:
    stamp = {"seconds": 0, "microseconds": 0}
    send({"event": name, "data": data, "timestamp": stamp})


USERNET = (
    "Hub -1 (net0):\r\n"
    "  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n"
    "  TCP[HOST_FORWARD]  12       127.0.0.1 {port}       10.0.2.15    22     0     0\r\n"
)
refusing = socket.socket()
refusing.bind(("127.0.0.1", 0))  # nobody listens there: a connection is refused


def human(line: str) -> str:
    if line == "info usernet":
        return USERNET.format(port=refusing.getsockname()[1])
    if line.startswith("info registers") and PROBE:
        halted = script.get("halts", True)
        return f"EAX=80000011\r\nRIP={0x10005D:016x} RFL=00000046 HLT={int(halted)}\r\n"
    if line.startswith("info registers"):
        return "CPU#0\r\nRIP=ffffffff81000000 RFL=00000246\r\n"
    return ""


def answer(command: str, arguments: dict[str, Any]) -> Any:
    if command == "human-monitor-command":
        return human(arguments["command-line"])
    if command == "query-status":
        running = script.get("running", True)
        return {"running": running, "status": "running" if running else "internal-error"}
    if command == "device-list-properties":
        return [{"name": name, "type": "bool"} for name in script.get("props", [])]
    if command == "query-cpus-fast":
        return [{"cpu-index": 0, "qom-path": "/machine/unattached/device[0]"}]
    if command == "qom-get":
        return script.get("values", {})[arguments["property"]]
    if command == "inject-nmi":
        say(script.get("nmi", ""))
    return {}


def play() -> None:
    for wait, text in script.get("console", []):
        time.sleep(wait)
        say(text)
    aborts = script.get("aborts")
    if aborts is True or (aborts and not Path(aborts).exists()):
        if aborts is not True:
            Path(aborts).touch()
        sys.stderr.write("qemu: an assertion failed\n")
        sys.stderr.flush()
        os.abort()
    if script.get("reset"):
        event("SHUTDOWN", {"guest": True, "reason": "guest-reset"})
        time.sleep(0.2)
    if "end" in script:
        os._exit(script["end"])


version = {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": "fake"}
send({"QMP": {"version": version, "capabilities": []}})


def messages() -> Iterator[dict[str, Any]]:
    """JSON values follow each other on the monitor with nothing between them."""
    text, decoder = "", json.JSONDecoder()
    while data := monitor.recv(65536):
        text += data.decode()
        while text := text.lstrip():
            try:
                message, end = decoder.raw_decode(text)
            except ValueError:
                break
            text = text[end:]
            yield message


started = False
for message in messages():
    command = message["execute"]
    if command in script.get("deaf", []):
        continue
    if command == "quit":
        os._exit(0)
    try:
        send({"return": answer(command, message.get("arguments", {})), "id": message.get("id")})
    except KeyError as error:
        failure = {"class": "GenericError", "desc": f"Property {error} not found"}
        send({"error": failure, "id": message.get("id")})
    if command == "cont" and "ports" in script:
        for name, text in script["ports"]:
            word = next(word for word in sys.argv if word.startswith(f"file,id={name},path="))
            Path(word.partition("path=")[2]).write_bytes(text.encode("latin-1"))
        if "end" in script:
            os._exit(script["end"])
    if not started and GUEST and command == "human-monitor-command":
        started = True
        threading.Thread(target=play, daemon=True).start()
