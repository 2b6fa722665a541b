"""The environment that libraries and child processes find: our defaults in it, no secrets.

Knows which variables the libraries read as they are imported, and whose loggers talk too much. What
the deployer set for this app is `settings`' to read.
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
SECRET_VARIABLES = (*TOKEN_VARIABLES, "GEMMA_SPACE_ENGINE_KEY")
# Between a Space and the world stands Hugging Face's proxy, in a private network with it.
SPACE_PROXIES = "127.0.0.1,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10"
STORAGE = Path("/data")  # where a Space's persistent storage is, if it has any
# Read by libraries at their import, so they must stand before any of them is imported.
LIBRARY_DEFAULTS = {
    "GRADIO_ANALYTICS_ENABLED": "False",  # its telemetry can hang the exit for minutes
    "GRADIO_SSR_MODE": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",  # the deployer's token never serves a visitor unasked
    "DISABLE_SAFETENSORS_CONVERSION": "1",  # it would post the token to another service
    "TOKENIZERS_PARALLELISM": "false",
}
# From which level on they are heard.
TALKATIVE = {
    "bitsandbytes.autograd._functions": logging.ERROR,  # a line per layer and token in int8
    "bitsandbytes.backends.cpu.ops": logging.ERROR,  # at each start, of a kernel nobody asked for
    "httpx2": logging.WARNING,  # a line per request, addresses with signatures among them
    "httpcore2": logging.WARNING,
}


def set_library_defaults(environ: Mapping[str, str] | None = None, storage: Path = STORAGE) -> None:
    """Give Gradio and the Hugging Face libraries our defaults where the deployer set none.

    Must run before `gradio`, `huggingface_hub` or `transformers` is imported. Quiets talkative
    loggers.

    Args:
        environ: what the deployer set; left out: the process's environment.
        storage: of a Space; downloads go there, where it is, and outlast a restart.
    """
    given = os.environ if environ is None else environ
    defaults = dict(LIBRARY_DEFAULTS)
    if given.get("SPACE_ID"):
        defaults["FORWARDED_ALLOW_IPS"] = SPACE_PROXIES  # uvicorn believes them who is asking
    # Elsewhere than on a Space, a folder of this name is somebody's own.
    if given.get("SPACE_ID") and storage.is_dir() and os.access(storage, os.W_OK):
        defaults["HF_HOME"] = str(storage / "huggingface")
    for name, value in defaults.items():
        if name not in given:
            os.environ[name] = value
    for name, level in TALKATIVE.items():
        logging.getLogger(name).setLevel(level)


def hide_secrets() -> None:
    """Take the deployer's secrets out of the environment once they were read.

    Libraries and child processes look for it there; from here on it goes where it is passed.
    """
    for name in SECRET_VARIABLES:
        os.environ.pop(name, None)
