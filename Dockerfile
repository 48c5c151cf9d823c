# One image for every role: `moonsand api`, `moonsand worker`, `moonsand sequencer`.
# No part of it needs root or a capability; the jail is built from what any process may do.

FROM python:3.11-slim-bookworm AS build
ENV UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 \
    UV_PROJECT_ENVIRONMENT=/opt/moonsand PIP_ROOT_USER_ACTION=ignore
RUN python -m pip install -q --no-cache-dir 'uv>=0.13.9,<1'
WORKDIR /src
# What we depend on first: it changes less often than what we write.
COPY pyproject.toml uv.lock README.md ./
RUN uv sync -q --locked --no-default-groups --no-install-project
COPY . .
RUN uv sync -q --locked --no-default-groups --no-editable

FROM python:3.11-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends libseccomp2 tini \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 moonsand \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin moonsand \
    && install -d -o 10001 -g 10001 -m 0700 /var/lib/moonsand/ledger
COPY --from=build /opt/moonsand /opt/moonsand
ENV PATH=/opt/moonsand/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    MOONSAND_ENVIRONMENT=production MOONSAND_HOST=0.0.0.0
USER 10001:10001
WORKDIR /tmp
EXPOSE 8420
# tini reaps what a killed zygote leaves behind and passes signals on.
ENTRYPOINT ["tini", "--", "moonsand"]
CMD ["api"]
