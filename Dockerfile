# `thorax serve` on a CPU, without PyTorch.
#
#   docker build --tag thorax .
#   docker run --rm --publish 127.0.0.1:8000:8000 thorax --public
#   docker run --rm --publish 8000:8000 --env THORAX_TOKEN --volume "$PWD/run:/model:ro" thorax /model
#
# A container can only be reached at the address 0.0.0.0, and there it starts only with a token or with `--public`.
#
# `make containers` runs each RUN line below as it is written, in a Debian root, and asks the page for its health.
# Not run so: FROM, COPY, USER, EXPOSE, HEALTHCHECK and ENTRYPOINT, which it imitates.

FROM debian:bookworm-slim AS build
RUN apt-get update && apt-get install --yes --no-install-recommends python3 python3-venv
WORKDIR /source
COPY . .
RUN python3 -m venv /opt/thorax
RUN /opt/thorax/bin/pip install --no-cache-dir --constraint constraints.txt '.[serve]'

FROM debian:bookworm-slim
RUN apt-get update && apt-get install --yes --no-install-recommends python3 && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 10001 thorax
COPY --from=build /opt/thorax /opt/thorax
ENV PATH=/opt/thorax/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER thorax
WORKDIR /home/thorax
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
ENTRYPOINT ["thorax", "serve", "--listen", "0.0.0.0"]
