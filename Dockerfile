# The service of an exported file: on the CPU, without torch.
#
#   make export RUN=runs/<competition>/<time>
#   docker build -t podium .
#   docker run --rm -p 127.0.0.1:8000:8000 -v "$PWD/runs/<competition>/<time>/export/model.onnx:/model.onnx:ro" podium
#
# Words behind `podium` are options of `make serve`: run_dir=/other.onnx limits.megabytes=20
# Asked by another name or address than 127.0.0.1 and localhost, it needs to know them: hosts=[a.example,192.0.2.5]

FROM python:3.11-slim AS packages
ENV PIP_NO_CACHE_DIR=1
WORKDIR /build
COPY constraints.txt pyproject.toml environment.sh ./
# the extra `serve` of pyproject.toml, in the versions of constraints.txt
RUN python -m venv /venv && sh environment.sh /venv serve

FROM python:3.11-slim
RUN useradd --system --no-create-home --uid 10001 podium
WORKDIR /podium
COPY --from=packages /venv /venv
COPY conf conf
COPY common common
COPY competitions competitions
USER podium
ENV PYTHONDONTWRITEBYTECODE=1
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --start-period=60s CMD ["/venv/bin/python", "-c", \
    "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=5)"]
ENTRYPOINT ["/venv/bin/python", "-m", "common", "serve", "host=0.0.0.0", "port=8000", "run_dir=/model.onnx"]
