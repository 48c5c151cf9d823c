-- One cycle of a sync: every asset that should be indexed and is not gets an object, and with
-- `reconcile_on_sync` every object goes whose asset passes the metadata filters no more.
-- It stops after `input.most_calls` calls and says in `next` where another run goes on.
--#include filters
--#include assets
--#include objects

local sync = input.sync
local mux = calls_of("mux", sync.mux_account)
local here = input.next or { phase = "assets" }
local calls = 0
local seen = {}
local done = {
  discovered = 0, synced = 0, already = 0, unindexed = 0, failed = 0,
  skipped = {}, failures = json.array(),
}
local MOST_FAILURES = 20
-- What one run can look at whole, or it would begin the same page again and again.
local OBJECTS_PAGE = math.max(1, math.min(100, (input.most_calls - 4) // 3))

local function room_for(more)
  return calls + more <= input.most_calls
end

local function asset_of(asset_id)
  calls = calls + 1
  local ok, found = pcall(mux.get_asset, { asset_id = asset_id })
  if ok then
    return found.data
  end
  if found.status == 404 then
    return nil
  end
  error(found, 0)
end

local function unindex(objects)
  for _, object in ipairs(objects) do
    if is_own(sync, object) then
      calls = calls + 1
      if delete_object(sync, object) then
        done.unindexed = done.unindexed + 1
      end
    end
  end
end

local function note_failure(asset_id, problem)
  done.failed = done.failed + 1
  if #done.failures < MOST_FAILURES then
    table.insert(done.failures, {
      asset_id = asset_id, code = problem.code, message = tostring(problem),
    })
  end
end

local function take(asset, objects)
  local captured = captured_of(asset)
  done.discovered = done.discovered + 1
  seen[asset.id] = true
  if objects then
    if sync.reconcile_on_sync and not matches(asset, captured, sync.metadata_filters) then
      unindex(objects)
    else
      done.already = done.already + 1
    end
    return
  end
  local why, file = why_skipped(asset, captured, sync)
  if why then
    done.skipped[why] = (done.skipped[why] or 0) + 1
    return
  end
  calls = calls + 1
  local ok, problem = create_object(sync, captured, file)
  if ok then
    done.synced = done.synced + 1
  else
    note_failure(asset.id, problem)
  end
end

--- Take one page; false when there was no room for all of it, which is looked at again then.
local function take_page(assets)
  local ids = {}
  for index, asset in ipairs(assets) do
    ids[index] = asset.id
  end
  calls = calls + 1
  local indexed = objects_of(sync, ids)
  for _, asset in ipairs(assets) do
    if not seen[asset.id] then
      if not room_for(2) then
        return false
      end
      take(asset, indexed[asset.id])
    end
  end
  return true
end

local function take_listed()
  while true do
    if not room_for(4) then
      return false
    end
    calls = calls + 1
    local page = mux.list_assets({ limit = 100, page = here.page or 0, cursor = here.cursor })
    if not take_page(page.data) then
      return false
    end
    if page.next_cursor then
      here.cursor = page.next_cursor
    elseif here.cursor == nil and #page.data == 100 then
      here.page = (here.page or 0) + 1
    else
      return true
    end
  end
end

local function take_one(asset_id)
  local asset = asset_of(asset_id)
  if asset then
    return take_page({ asset })
  end
  if sync.reconcile_on_sync then
    unindex(objects_of(sync, { asset_id })[asset_id] or {})
  end
  return true
end

--- Ask Mux for each asset of an own object that the list did not have.
local function reconcile()
  local mixpeek = calls_of("mixpeek", sync.mixpeek_account)
  while true do
    if not room_for(4) then
      return false
    end
    calls = calls + 1
    local page = mixpeek.list_objects({
      bucket_id = sync.bucket_id,
      namespace = sync.namespace,
      filters = {
        AND = {
          { field = "key_prefix", operator = "starts_with", value = KEY },
          { field = "metadata.sync_config_id", operator = "eq", value = sync.sync_config_id },
        },
        case_sensitive = true,
      },
      select = SELECT,
      limit = OBJECTS_PAGE,
      cursor = here.cursor,
    })
    for _, object in ipairs(page.results) do
      local asset_id = (object.key_prefix or ""):sub(#KEY + 1)
      if is_own(sync, object) and key_of(asset_id) == object.key_prefix and not seen[asset_id] then
        if not room_for(3) then
          return false
        end
        local asset = asset_of(asset_id)
        if not (asset and matches(asset, captured_of(asset), sync.metadata_filters)) then
          unindex({ object })
        end
        seen[asset_id] = true
      end
    end
    here.cursor = page.pagination and page.pagination.next_cursor
    if not here.cursor then
      return true
    end
  end
end

local whole = true
if here.phase == "assets" then
  if sync.asset_id then
    whole = take_one(sync.asset_id)
  else
    whole = take_listed()
  end
  if whole and sync.reconcile_on_sync and not sync.asset_id then
    here = { phase = "objects" }
  end
end
if whole and here.phase == "objects" then
  whole = reconcile()
end
if not whole then
  done.next = here
end
return done
