# One image for migrate, ingest, worker and planner: which one is the command's first word.
FROM python:3.11-slim AS build
# The version that .ci/setup.py uses: a test compares them.
RUN pip install --no-cache-dir uv==0.13.9
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never \
    UV_PROJECT_ENVIRONMENT=/opt/fleetpulse
WORKDIR /build
# Dependencies first, by version and hash from the lock: this layer lasts until the lock changes.
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN uv sync --frozen --no-dev --no-install-project
COPY schemas ./schemas
COPY processors ./processors
COPY optimizer ./optimizer
COPY infra ./infra
COPY stream ./stream
RUN uv sync --frozen --no-dev --no-editable

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home --home-dir /nonexistent fleetpulse
COPY --from=build /opt/fleetpulse /opt/fleetpulse
ENV PATH=/opt/fleetpulse/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001
# Faust makes an empty directory where it stands; the rest of the file system may be read-only.
WORKDIR /tmp
ENTRYPOINT ["fleetpulse"]
CMD ["--help"]
