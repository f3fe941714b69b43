"""Encoding prompts so that content can never become a control token of the model.

`ChatEncoder` where the tokenizer is at hand, `escape` where it is not.
"""

from trimtab.server.engines.encoding.chat import ChatEncoder, EncodedPrompt
from trimtab.server.engines.encoding.chat_input import parse_tool_arguments
from trimtab.server.engines.encoding.escape import LookalikeScanner, escape
from trimtab.server.engines.encoding.self_check import SafeMode, SelfCheck

__all__ = ["ChatEncoder", "EncodedPrompt", "LookalikeScanner", "SafeMode", "SelfCheck", "escape", "parse_tool_arguments"]
