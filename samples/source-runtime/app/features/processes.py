"""Work in other processes."""

import concurrent.futures
import multiprocessing


def square(number):
    return number * number


def answer(_query):
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        return {"squares": list(pool.map(square, [1, 2, 3]))}
