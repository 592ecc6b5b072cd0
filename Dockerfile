# One image for every role: `serve`, `monitor`, `up`. State lives in /state, models in /models (mount both).
FROM python:3.11-slim AS build
WORKDIR /build
COPY requirements requirements
RUN python -m venv /app \
    && /app/bin/pip install --no-cache-dir --require-hashes -r requirements/run.txt -r requirements/build.txt
COPY . .
RUN /app/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11-slim
RUN useradd --create-home pointsman && mkdir /state /models && chown pointsman /state
COPY --from=build /app /app
USER pointsman
WORKDIR /home/pointsman
ENV PATH=/app/bin:$PATH \
    POINTSMAN_STATE_DIR=/state \
    POINTSMAN_REGISTRY=/models \
    POINTSMAN_HOST=0.0.0.0
VOLUME /state
EXPOSE 8000 8003 8004
# up drains on SIGTERM; kubelet and docker send it, and wait longer than the drain takes when told so
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --start-period=30s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=3)"]
ENTRYPOINT ["pointsman"]
CMD ["up"]
