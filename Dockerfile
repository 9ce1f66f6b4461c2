# The gateway's image: everything from the hashed lock files, nothing runs as root, nothing is written but the volume.
FROM python:3.11.14-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/sitegate
COPY requirements.lock requirements-dev.lock ./
RUN /opt/sitegate/bin/pip install --require-hashes -r requirements.lock \
 && /opt/sitegate/bin/pip install --require-hashes --no-deps -c requirements-dev.lock grafana-foundation-sdk
COPY . .
RUN /opt/sitegate/bin/pip install --no-deps --no-build-isolation .

FROM python:3.11.14-slim-bookworm
# a new volume takes the owner of the folder it covers
RUN useradd --system --uid 8080 --no-create-home --shell /usr/sbin/nologin sitegate \
 && install -d -o sitegate -g sitegate /var/lib/sitegate /provisioning
COPY --from=build /opt/sitegate /opt/sitegate
ENV PATH=/opt/sitegate/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER sitegate
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["sitegate"]
CMD ["run", "/etc/sitegate/site.yaml"]
