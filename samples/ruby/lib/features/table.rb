# frozen_string_literal: true

require 'csv'

module Features
  # The rows of a file of comma-separated values.
  class Table
    def rows(path)
      CSV.read(path, headers: true).map(&:to_h)
    end
  end
end
