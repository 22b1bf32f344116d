# One image for the API, the workers and the migrations. Build: docker build -t gradmill .
FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/gradmill
COPY requirements.lock ./
RUN /opt/gradmill/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY service service
COPY worker worker
COPY migrations migrations
RUN /opt/gradmill/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps .

FROM python:3.13-slim
ENV PATH=/opt/gradmill/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    OPENBLAS_NUM_THREADS=1 \
    GRADMILL_DATA_DIR=/data \
    GRADMILL_HOST=0.0.0.0
RUN useradd --system --uid 10001 --home-dir /data gradmill \
    && install -d -o gradmill -g gradmill -m 0700 /data /data/datasets
COPY --from=build /opt/gradmill /opt/gradmill
USER gradmill
VOLUME /data
EXPOSE 8700
ENTRYPOINT ["gradmill"]
CMD ["up"]
