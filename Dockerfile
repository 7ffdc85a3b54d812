# The containerised runner (target `runner`), and an evaluation image with lm-evaluation-harness on top (`harness`).
#
#     docker build --target runner --tag nel-action .
#     docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/work" nel-action run evals/gate.yaml
#
# The release workflow pins BASE by digest. EXTRAS lists extras of pyproject.toml, for example "slurm process wandb".
ARG BASE=python:3.12-slim

FROM ${BASE} AS tools
WORKDIR /source
COPY requirements/ requirements/
RUN awk '/^[a-z]/ {uv = /^uv==/} uv' requirements/process.txt > /uv.txt \
    && python3 -m venv /uv \
    && /uv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes --requirement /uv.txt
ENV UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_BUILD_CONSTRAINT=/source/requirements/build.txt

FROM tools AS build
ARG EXTRAS="slurm process"
RUN /uv/bin/uv venv --quiet --python python3 /opt/nel-action \
    && for lock in core ${EXTRAS}; do \
        /uv/bin/uv pip install --quiet --python /opt/nel-action --no-deps --require-hashes --requirements "requirements/$lock.txt" \
        || exit 1; \
    done
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY src/ src/
RUN /uv/bin/uv pip install --quiet --python /opt/nel-action --no-deps . \
    && find /opt/nel-action -type d -name tests -prune -exec rm -rf {} + \
    && find /opt/nel-action -name __pycache__ -prune -exec rm -rf {} + \
    && /opt/nel-action/bin/python -m compileall -q /opt/nel-action/lib/python3.*/site-packages/nel_action

FROM ${BASE} AS runner
# Without git, results have no commit; the owner of a mounted checkout is usually not the user of the container.
# Versions are those of the base image's release; mirrors drop old ones.
# hadolint ignore=DL3008
RUN apt-get -qq update \
    && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends git > /dev/null \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/apt /var/log/dpkg.log \
    && git config --system --add safe.directory '*'
COPY --from=build /opt/nel-action /opt/nel-action
COPY scripts/container-entrypoint /usr/local/bin/
RUN ln -s /opt/nel-action/bin/nel-action /opt/nel-action/bin/uv /usr/local/bin/ \
    && mkdir -m 1777 /home/nel /work
# Environments and data sets are stored in /home/nel, which may be a volume. The container stops with its first process,
# and so do local jobs; `run` therefore waits unless --no-wait is given.
ENV HOME=/home/nel NEL_ACTION_HOME=/home/nel/.nel-action NEL_ACTION_WAIT=true PYTHONUNBUFFERED=1 \
    UV_PYTHON_DOWNLOADS=never
WORKDIR /work
USER 10001:10001
ENTRYPOINT ["container-entrypoint"]
CMD ["--help"]

FROM tools AS build-harness
COPY src/nel_action/harnesses/lm_eval/requirements.txt ./
RUN /uv/bin/uv venv --quiet --python python3 /opt/lm-eval \
    && /uv/bin/uv pip install --quiet --python /opt/lm-eval --no-deps --require-hashes --requirements requirements.txt \
    && find /opt/lm-eval -name __pycache__ -prune -exec rm -rf {} +

FROM runner AS harness
COPY --from=build-harness /opt/lm-eval /opt/lm-eval
ENV PATH=/opt/lm-eval/bin:$PATH
ENTRYPOINT []
CMD ["lm-eval", "--help"]
