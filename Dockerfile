# One image for each role: docker build --target serve . (docker-compose.yml builds them all)
#
#   redis         the official Redis with deploy/redis/redis.conf
#   serve         the HTTP interface and the CPU worker: no TensorFlow, no pip
#   trainer       trains and exports; also the worker in front of TensorFlow Serving, for its messages need TensorFlow
#   worker-gpu    the worker with ONNX Runtime on CUDA
#   trainer-gpu   trains on CUDA
#
# CUDA comes from wheels: the host brings the driver and NVIDIA's container toolkit, the images nothing else.
# Packages are installed before the code is copied, so that a change of the code makes no layer of packages anew. There
# is no `RUN --mount=type=cache`: Docker's older builder does not know it, and builds this file as well.

FROM redis:7 AS redis
RUN install -d -o 999 -g 999 -m 0700 /var/lib/tintype-redis
COPY deploy/redis/redis.conf /etc/tintype-redis.conf
WORKDIR /var/lib/tintype-redis
USER 999:999
STOPSIGNAL SIGTERM
CMD ["redis-server", "/etc/tintype-redis.conf"]


FROM python:3.11-slim AS base
ENV HOME=/tmp \
    PATH=/opt/tintype/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TINTYPE_HOME=/var/lib/tintype
RUN groupadd --gid 10001 tintype \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin tintype \
    && install -d -o 10001 -g 10001 -m 0700 /var/lib/tintype-keys \
    && install -d -o 10001 -g 10001 /var/lib/tintype /var/lib/tintype/models /var/lib/tintype/runs \
        /var/lib/tintype/jobs /var/lib/tintype/trainings /var/lib/tintype/cache


FROM base AS packages
RUN python -m venv --without-pip /opt/tintype
WORKDIR /source
COPY pyproject.toml constraints.txt deploy/install.sh deploy/requirements.py deploy/slim.py ./

FROM packages AS code
COPY . .
RUN pip --python /opt/tintype/bin/python install --no-cache-dir --no-deps --prefix /code .


FROM packages AS serve
RUN ./install.sh serve telemetry && python slim.py /opt/tintype
COPY --from=code /code /opt/tintype
USER 10001:10001
WORKDIR /var/lib/tintype
STOPSIGNAL SIGTERM
EXPOSE 8000
CMD ["tintype", "serve", "--host", "0.0.0.0"]


FROM packages AS trainer
ENV TF_CPP_MIN_LOG_LEVEL=2
RUN ./install.sh train serve telemetry
COPY --from=code /code /opt/tintype
USER 10001:10001
WORKDIR /var/lib/tintype
STOPSIGNAL SIGTERM
CMD ["tintype", "worker", "--queues", "train"]


FROM packages AS worker-gpu
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility TINTYPE_DEVICE=cuda
RUN ./install.sh gpu telemetry
COPY --from=code /code /opt/tintype
USER 10001:10001
WORKDIR /var/lib/tintype
STOPSIGNAL SIGTERM
CMD ["tintype", "worker"]


FROM packages AS trainer-gpu
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility TF_CPP_MIN_LOG_LEVEL=2
RUN ./install.sh train train-gpu serve telemetry
COPY --from=code /code /opt/tintype
USER 10001:10001
WORKDIR /var/lib/tintype
STOPSIGNAL SIGTERM
CMD ["tintype", "worker", "--queues", "train"]
