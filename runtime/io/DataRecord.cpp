#include "runtime/io/DataRecord.h"

#include <cstdlib>

namespace moec::rt {

static Json integer(uint64_t value) { return Json::integer(static_cast<int64_t>(value)); }

static Json filesOf(const SourceRecord &source) {
  Json files = Json::array();
  for (const FileIdentity &file : source.files) {
    Json row = Json::object();
    row.set("path", Json::string(file.path));
    row.set("bytes", integer(file.bytes));
    row.set("hash", Json::string(file.hash));
    files.append(std::move(row));
  }
  return files;
}

Json DataRecord::toJson() const {
  Json json = Json::object(), trainRows = Json::array(), validationRows = Json::array();
  for (const SourceRecord &source : train) {
    Json row = Json::object();
    row.set("name", Json::string(source.name));
    row.set("weight", Json::number(source.weight));
    row.set("stream", integer(source.stream));
    row.set("windows", integer(source.windows));
    row.set("began", integer(source.began));
    row.set("read", integer(source.read));
    row.set("files", filesOf(source));
    trainRows.append(std::move(row));
  }
  for (const SourceRecord &source : validation) {
    Json row = Json::object();
    row.set("name", Json::string(source.name));
    row.set("files", filesOf(source));
    validationRows.append(std::move(row));
  }
  json.set("seed", Json::string(std::to_string(seed))); // all 64 bits of it
  json.set("seq_len", integer(seqLen));
  json.set("sequences", integer(sequences));
  json.set("since_step", Json::integer(sinceStep));
  json.set("since_tokens", integer(sinceTokens));
  json.set("tokens", integer(tokens));
  json.set("train", std::move(trainRows));
  json.set("validation", std::move(validationRows));
  return json;
}

static std::vector<SourceRecord> readSources(Fields &root, std::string_view key, bool training) {
  std::vector<SourceRecord> sources;
  const auto &rows = root.array(key).items();
  for (size_t i = 0; i < rows.size() && !root.failed(); ++i) {
    Fields fields(rows[i], root.pointerTo(key) + "/" + std::to_string(i), root.errors());
    SourceRecord source;
    source.name = fields.string("name");
    if (training) {
      source.weight = fields.number("weight");
      source.stream = static_cast<uint32_t>(fields.size("stream", UINT32_MAX));
      source.windows = fields.size("windows");
      source.began = fields.size("began");
      source.read = fields.size("read");
    }
    const auto &files = fields.array("files").items();
    for (size_t k = 0; k < files.size() && !root.failed(); ++k) {
      Fields file(files[k], fields.pointerTo("files") + "/" + std::to_string(k), root.errors());
      source.files.push_back({file.string("path"), file.size("bytes"), file.string("hash")});
      file.finish();
    }
    fields.finish();
    sources.push_back(std::move(source));
  }
  return sources;
}

DataRecord DataRecord::fromJson(Fields &fields) {
  DataRecord record;
  std::string seed = fields.string("seed");
  record.seed = std::strtoull(seed.c_str(), nullptr, 10);
  if (std::to_string(record.seed) != seed)
    fields.errors().fail(fields.pointerTo("seed"), "must be a whole number below 2^64, is \"", seed, "\"");
  record.seqLen = fields.size("seq_len");
  record.sequences = fields.size("sequences");
  record.sinceStep = fields.integer("since_step", 0);
  record.sinceTokens = fields.size("since_tokens");
  record.tokens = fields.size("tokens");
  record.train = readSources(fields, "train", true);
  record.validation = readSources(fields, "validation", false);
  fields.finish();
  return record;
}

} // namespace moec::rt
