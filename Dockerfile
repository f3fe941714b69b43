# syntax=docker/dockerfile:1
# docker build --target cpu  -t trimtab:cpu .
# docker build --target cuda -t trimtab:cuda .
# docker run -p 127.0.0.1:8000:8000 -e TRIMTAB_API_KEY=secret -v trimtab:/data trimtab:cpu
ARG PYTHON_VERSION=3.12

FROM python:${PYTHON_VERSION}-slim AS source
WORKDIR /src
COPY . .

# Where pip finds the CPU build of torch; the default build brings several GB of CUDA.
FROM source AS build-cpu
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
RUN --mount=type=cache,target=/root/.cache/pip \
    PIP_EXTRA_INDEX_URL="${TORCH_INDEX_URL}" docker/install.sh /venv "" /src

FROM source AS build-cuda
RUN --mount=type=cache,target=/root/.cache/pip docker/install.sh /venv vllm /src

FROM python:${PYTHON_VERSION}-slim AS runtime
RUN useradd --create-home --uid 10001 trimtab && install -d -o trimtab -g trimtab /data
COPY docker/start.sh docker/healthcheck.sh /usr/local/bin/
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TRIMTAB_CACHE_DIR=/data/models \
    HF_HOME=/data/huggingface \
    TRIMTAB_DATA_DIR=/data/state \
    TRIMTAB_HOST=0.0.0.0 \
    TRIMTAB_PORT=8000
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s --retries=3 CMD ["healthcheck.sh"]
ENTRYPOINT ["start.sh"]

FROM runtime AS cuda
# Triton compiles its launchers with the system's C compiler.
RUN apt-get update && apt-get install -y --no-install-recommends gcc g++ && rm -rf /var/lib/apt/lists/*
COPY --from=build-cuda /venv /venv
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER trimtab

FROM runtime AS cpu
COPY --from=build-cpu /venv /venv
USER trimtab
