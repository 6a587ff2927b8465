# frozen_string_literal: true

bind 'tcp://0.0.0.0:9292'
threads 2, 4
# As process 1 it cannot end itself by a signal.
raise_exception_on_sigterm false
