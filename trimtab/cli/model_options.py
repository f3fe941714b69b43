"""Flags that say what runs a model: the same for every command that runs one."""

from typing import Annotated, Literal

import typer

MODEL = "Model"
"""Their panel in the help."""

Engine = Annotated[
    Literal["auto", "vllm", "transformers", "upstream", "scripted"] | None,
    typer.Option(envvar="TRIMTAB_ENGINE", help="What runs the model; auto: vLLM where installed.", rich_help_panel=MODEL),
]
UpstreamApiKey = Annotated[
    str | None,
    typer.Option(envvar="TRIMTAB_UPSTREAM_API_KEY", metavar="KEY", help="Key for the upstream.", rich_help_panel=MODEL),
]
MaxModelLen = Annotated[
    int | None,
    typer.Option(envvar="TRIMTAB_MAX_MODEL_LEN", min=16, help="Context window in tokens.", rich_help_panel=MODEL),
]
Dtype = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"] | None,
    typer.Option(envvar="TRIMTAB_DTYPE", help="Type the weights are computed in.", rich_help_panel=MODEL),
]
