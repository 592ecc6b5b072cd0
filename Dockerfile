# One image for every role: `up`, `serve`, `forward`, `monitor`. State lives in /state, models in /models (mount both).
# Built in two steps: what builds stays behind, what runs has neither pip nor a compiler.
FROM python:3.11-slim-bookworm AS build
WORKDIR /build
COPY requirements requirements
RUN pip install --no-cache-dir --require-hashes -r requirements/build.txt \
    && python -m venv --without-pip /app \
    && pip --python /app/bin/python install --no-cache-dir --require-hashes -r requirements/run.txt
COPY . .
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /dist . \
    && pip --python /app/bin/python install --no-cache-dir --no-deps /dist/*.whl

FROM python:3.11-slim-bookworm
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="pointsman" \
      org.opencontainers.image.description="A model-serving gateway with champion and challengers, a prediction log and a monitor" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/pointsman/pointsman" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
# a number, so that Kubernetes can tell that it is not root; fixed, so that the files of a volume keep their owner
RUN groupadd --gid 10001 pointsman \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /state --shell /usr/sbin/nologin pointsman \
    && install --directory --owner 10001 --group 10001 --mode 0750 /state \
    && install --directory --mode 0755 /models
COPY --from=build /app /app
USER 10001:10001
# a pointsman.toml that is mounted here is read; nothing is written outside /state and /tmp: the root may be read-only
WORKDIR /etc/pointsman
ENV PATH=/app/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1 \
    POINTSMAN_STATE_DIR=/state \
    POINTSMAN_REGISTRY=/models \
    POINTSMAN_HOST=0.0.0.0 \
    HEALTH_URL=http://127.0.0.1:8000/v2/health/ready
VOLUME /state
EXPOSE 8000 8003 8004
# every role drains on SIGTERM; give it drain_delay_seconds + drain_timeout_seconds + 15 before SIGKILL
STOPSIGNAL SIGTERM
# a monitor answers elsewhere: -e HEALTH_URL=http://127.0.0.1:8004/health/live; compose has the forwarder's check
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(os.environ['HEALTH_URL'], timeout=4)"]
ENTRYPOINT ["pointsman"]
CMD ["up"]
