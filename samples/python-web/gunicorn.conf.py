"""Two workers that share one port."""

bind = "0.0.0.0:8000"
workers = 2
worker_class = "uvicorn.workers.UvicornWorker"
worker_tmp_dir = "/dev/shm"
accesslog = "-"
graceful_timeout = 5
