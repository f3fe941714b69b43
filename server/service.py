"""The service: answers validated requests without knowing HTTP. It chooses model and pipeline, runs them, accounts for them."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from trimtab.server.api.limits import Gate
from trimtab.server.api.schemas.alignment import AlignmentOptions
from trimtab.server.api.schemas.caps import check_caps
from trimtab.server.api.schemas.capabilities import check_capabilities
from trimtab.server.account import Account
from trimtab.server.engines.base import Engine, TokenizerFace, Wire
from trimtab.server.errors import ModelNotFound
from trimtab.server.exchange import Answer, Inbound, Principal, StreamAnswer
from trimtab.server.models import ServedModel
from trimtab.server.selection import Chooser, Selection
from trimtab.server.settings import Settings
from trimtab.server.wire import ChatAnswerBuilder, ChatChunks, dumps, params_of, usage_of, wants_usage
from trimtab.strategies.config import catalogue, describe
from trimtab.strategies.core.budget import Budget
from trimtab.strategies.core.context import RequestContext, Step, Trace
from trimtab.strategies.core.engine import Call, Params, Ports
from trimtab.strategies.core.errors import ConfigError, RequestRefused, StrategyError, StrategyNotAllowed
from trimtab.strategies.core.messages import Conversation, Delta, Prompt, Text
from trimtab.strategies.pipeline import Pipeline
