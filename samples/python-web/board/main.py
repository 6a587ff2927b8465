"""A board of messages; what only one path needs is imported by its first call."""

import contextlib
import importlib
import importlib.metadata
import os
import pathlib
import pkgutil

import fastapi
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from pydantic import BaseModel, Field

HERE = pathlib.Path(__file__).parent
templates = Jinja2Templates(directory=HERE / "templates")


@contextlib.asynccontextmanager
async def lifespan(_application):
    yield
    # Read only when the program is stopped.
    print((HERE / "farewell.txt").read_text().strip(), flush=True)


application = fastapi.FastAPI(title="board", lifespan=lifespan)
application.mount("/static", StaticFiles(directory=HERE / "static"), name="static")


class Message(BaseModel):
    author: str = Field(min_length=1, max_length=40)
    text: str


@application.get("/health")
def health():
    return {"status": "ok"}


@application.get("/", response_class=HTMLResponse)
def index(request: fastapi.Request):
    return templates.TemplateResponse(request, "index.html", {"messages": store().read()})


@application.get("/search", response_class=HTMLResponse)
def search(request: fastapi.Request, q: str = ""):
    return templates.TemplateResponse(request, "search.html", {"query": q})


@application.get("/messages")
def messages():
    return store().read()


@application.post("/messages", status_code=201)
def post(message: Message):
    store().write(message.author, message.text)
    return message


@application.post("/form", status_code=201)
async def form(author: str = fastapi.Form(), picture: fastapi.UploadFile = fastapi.File()):
    return {"author": author, "bytes": len(await picture.read())}


@application.get("/feature/{name}")
def feature(name: str):
    try:
        module = importlib.import_module(f"board.feature_{name}")
    except ModuleNotFoundError as error:
        raise fastapi.HTTPException(404, str(error)) from error
    return module.answer()


@application.get("/plugins")
def plugins():
    """Whatever lies in a folder: nothing names them."""
    import board.plugins as folder

    found = sorted(module.name for module in pkgutil.iter_modules(folder.__path__))
    return {name: importlib.import_module(f"board.plugins.{name}").GREETING for name in found}


@application.get("/self")
def self():
    return {
        "uid": os.getuid(),
        "groups": sorted(os.getgroups()),
        "secret": pathlib.Path("/srv/board/private/secret.txt").read_text().strip(),
        "notice": os.environ.get("BOARD_NOTICE"),
        "version": importlib.metadata.version("fastapi"),
    }


def store():
    from board import database

    return database
